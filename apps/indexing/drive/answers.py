"""What a refusal of the server means for us: the client library's own opinion is too narrow and knows one shape only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What to do about a refusal."""

    COOL_DOWN = "cool_down"  # everything that uses this credential pauses
    AGAIN = "again"          # the same request may succeed soon
    CREDENTIAL = "credential"  # another token is needed
    JOB = "job"              # somebody must act before anything works
    LATER = "later"          # this file, some hours later
    SKIP = "skip"            # this file or folder, not with this permission
    GONE = "gone"            # this file or folder is not there, or not for us
    REJECTED = "rejected"    # the request itself, or a token in it, is not accepted


_RATE = {"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "sharingRateLimitExceeded"}
_JOB = {
    "dailyLimitExceeded", "dailyLimitExceededUnreg", "accessNotConfigured", "insufficientPermissions", "SERVICE_DISABLED",
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
}
_LATER = {"downloadQuotaExceeded", "quotaExceeded"}
_IN_WORDS = {
    "cannotDownloadAbusiveFile": "Google Drive flagged it as malware or spam",
    "exportSizeLimitExceeded": "Google Drive does not export documents of this size",
    "downloadQuotaExceeded": "Google Drive's download quota for this file is used up for now",
    "cannotDownloadFile": "its owner does not allow downloads",
    "fileNotDownloadable": "it cannot be downloaded",
    "insufficientFilePermissions": "the credential may not read it",
    "appNotAuthorizedToFile": "the credential's application may not read it",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal: what it means, what the server said, and the pause in seconds that it asked for."""

    verdict: Verdict
    status: int
    reason: str
    message: str
    retry_after: float | None = None

    def __str__(self) -> str:
        said = _IN_WORDS.get(self.reason) or self.message or self.reason
        return f"{said} ({self.status}{' ' + self.reason if self.reason else ''})"


def refusal_of(status: int, body: bytes, headers: Mapping[str, str], now: datetime | None = None) -> Refusal:
    """Understand an answer that is not a success; both shapes of Google's errors, and none at all."""
    reasons, message = _said(body)
    verdict, reason = _verdict(status, reasons, body)
    return Refusal(verdict, status, reason, message, _retry_after(headers.get("retry-after"), now or datetime.now(UTC)))


def _verdict(status: int, reasons: list[str], body: bytes) -> tuple[Verdict, str]:
    if status == 403:
        return _forbidden(reasons, body)
    if status == 429:
        verdict = Verdict.LATER if _LATER.intersection(reasons) else Verdict.COOL_DOWN
    elif status >= 500 or status == 408:
        verdict = Verdict.AGAIN
    else:
        verdict = {401: Verdict.CREDENTIAL, 404: Verdict.GONE}.get(status, Verdict.REJECTED)
    return verdict, reasons[0] if reasons else ""


def _forbidden(reasons: list[str], body: bytes) -> tuple[Verdict, str]:
    for verdict, known in ((Verdict.COOL_DOWN, _RATE), (Verdict.JOB, _JOB), (Verdict.LATER, _LATER)):
        for reason in reasons:
            if reason in known:
                return verdict, reason
    if not reasons and b"rate limit" in body[:4096].lower():
        return Verdict.COOL_DOWN, ""
    return Verdict.SKIP, reasons[0] if reasons else ""


def _said(body: bytes) -> tuple[list[str], str]:
    """All reasons named, the most telling first, and the message."""
    try:
        error = json.loads(body)["error"]
        details = [*_mappings(error.get("errors")), *_mappings(error.get("details")), {"reason": error.get("status")}]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return [], ""
    reasons = [each["reason"] for each in details if isinstance(each.get("reason"), str)]
    return reasons, str(error.get("message") or "")[:500]


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds, or a date of HTTP (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):
        return None
