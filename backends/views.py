"""How a job and its attempts look to others, and the columns that this takes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from sqlalchemy import Select, select

from .dialects import AnyRow
from .extraction import UNREADABLE, masked, may_hold_secrets
from .tables import indexing_jobs


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value for key, value in values.items()
    }


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as others may see it. Times are aware; `parameters` are decoded, `{"invalid": text}` when they are not JSON.

    Secrets are never shown. `holds_secrets`: true while it has some, false when they were deleted, None when it never had any.
    """

    id: int
    program_id: int
    user_id: int | None
    job_type: str
    folder_id: str | None
    status: str
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    total_files: int
    processed_files: int
    successful_files: int
    failed_files: int
    progress_message: str | None
    error_message: str | None
    priority: int
    retry_count: int
    max_retries: int
    interruptions: int
    scheduled_at: datetime | None
    locked_at: datetime | None
    locked_by: str | None
    lane: str | None
    unique_key: str | None
    cancel_requested_at: datetime | None
    holds_secrets: bool | None
    parameters: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON types: times in ISO 8601."""
        return _as_json(asdict(self))


@dataclass(frozen=True, slots=True)
class AttemptView:
    """An attempt that ended other than completed."""

    lease: int
    outcome: str
    reason: str
    detail: str
    locked_by: str | None
    started_at: datetime | None
    ended_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON types: times in ISO 8601."""
        return _as_json(asdict(self))


SHOWN = [indexing_jobs.c["job_parameters" if name == "parameters" else name] for name in JobView.__dataclass_fields__]
"""The columns of which a view is made."""


def show_jobs() -> Select[Any]:
    """The statement that reads all that is shown of jobs; the caller says of which."""
    return select(*SHOWN)


def view(row: AnyRow) -> JobView:
    """A row of `show_jobs`, as others may see it."""
    values = dict(row._mapping)
    parameters = _decoded(values.pop("job_parameters"))
    return JobView(**values, parameters=parameters)


def _decoded(text: str | None) -> dict[str, Any]:
    """The parameters without what admission has not taken out of them yet."""
    suspect = bool(text) and may_hold_secrets(text or "")
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite) if text else {}
        shown = masked(value) if suspect else value
    except (ValueError, RecursionError):
        return {"invalid": UNREADABLE if suspect else text}
    if isinstance(shown, dict):
        return shown
    return {"invalid": json.dumps(shown) if suspect else text}


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON, whatever Python takes it for: others could not read what is shown")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large for a number")
    return number
