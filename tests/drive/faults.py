"""What can go wrong on the way, by rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What is answered instead, or how the honest answer is spoilt.

    With a `status` the answer is made up; otherwise `change` gets the honest JSON. `only` sends that many bytes of the body
    and closes; -1 closes without an answer. `hang` waits that many seconds before the body.
    """

    status: int | None = None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    change: Callable[[dict[str, Any]], Any] | None = None
    spoil: Callable[[bytes], bytes] | None = None
    only: int | None = None
    hang: float = 0.0
    ignore_range: bool = False


@dataclass
class Rule:
    """When a fault happens: at a route (`files.list`), for an id, from the `nth` matching request on, `times` times."""

    fault: Fault
    route: str | None = None
    id: str | None = None
    token: str | None = None
    nth: int = 1
    times: int = 1
    seen: int = 0

    def matches(self, route: str, file_id: str | None, token: str | None) -> bool:
        """Whether it is this request's turn; counts the requests it is asked about."""
        wanted = ((self.route, route), (self.id, file_id), (self.token, token))
        if any(rule is not None and rule != given for rule, given in wanted):
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times


def error_body(status: int, reason: str, message: str = "It was refused.", **more: str) -> bytes:
    """An error in the shape of Drive v3."""
    each = {"domain": "global", "reason": reason, "message": message, **more}
    return json.dumps({"error": {"errors": [each], "code": status, "message": message}}).encode()


JSON = {"content-type": "application/json; charset=UTF-8"}


def refused(status: int, reason: str = "backendError", **headers: str) -> Fault:
    """An error in Drive's usual shape."""
    return Fault(status, error_body(status, reason), {**JSON, **headers})


def rate_limited(retry_after: str | None = None, status: int = 429) -> Fault:
    """Too many requests; `retry_after` is the header's text."""
    given = {} if retry_after is None else {"retry-after": retry_after}
    return Fault(status, error_body(status, "rateLimitExceeded", "Rate Limit Exceeded"), {**JSON, **given})


def forbidden(reason: str) -> Fault:
    """403 for a reason."""
    return refused(403, reason)


def forbidden_new_style(reason: str) -> Fault:
    """403 in the shape of Google's newer interfaces."""
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}
    body = {"error": {"code": 403, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED", "details": [info]}}
    return Fault(403, json.dumps(body).encode(), JSON)


def truncated(only: int) -> Fault:
    """The connection breaks after that many bytes of the body."""
    return Fault(only=only)


def dropped() -> Fault:
    """The connection closes without an answer."""
    return Fault(only=-1)


def invalid_grant() -> Fault:
    """The token endpoint does not take the refresh token, or the key, any more."""
    body = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
    return Fault(400, json.dumps(body).encode(), JSON)


def broken_json() -> Fault:
    """200, and what should be JSON is not."""
    return Fault(200, b'{"files": [', JSON)


def hanging(seconds: float) -> Fault:
    """Nothing comes for that long."""
    return Fault(hang=seconds)


def incomplete() -> Fault:
    """The list admits that something is missing."""
    return Fault(change=lambda answer: answer | {"incompleteSearch": True})


def repeated_token(token: str = "again") -> Fault:
    """Every page names the same next page."""
    return Fault(change=lambda answer: answer | {"nextPageToken": token})
