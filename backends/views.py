"""How a job and its attempts look to others, and the columns that this takes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from sqlalchemy import ColumnElement, String

from .bounds import ALONE, IN_LISTS, Extent, cut, octets, small
from .dialects import AnyRow
from .extraction import UNREADABLE, masked, may_hold_secrets
from .parameters import LARGEST_PARAMETERS
from .tables import indexing_jobs, job_attempts


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value for key, value in values.items()
    }


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as others may see it. Times are aware; `parameters` are decoded, `{"invalid": text}` when they are not JSON.

    `{"omitted": "1000000 bytes; ..."}` stands for large parameters, and a long text ends in ` [30000 bytes in all]`: in lists
    those of more than 4,000 and 2,000 bytes, of one job only what is larger than any enqueueing allows.
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
    """An attempt that ended other than completed; its `reason` is cut as texts in lists are."""

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


_CUT = frozenset({"job_type", "folder_id", "progress_message", "error_message", "locked_by", "lane", "unique_key"})
"""Columns in which there may be any text."""


def shown(extent: Extent) -> list[ColumnElement[Any]]:
    """The columns of which a view is made."""
    parameters = indexing_jobs.c.job_parameters
    plain = [name for name in JobView.__dataclass_fields__ if name != "parameters"]
    columns = [cut(indexing_jobs.c[name], extent) if name in _CUT else indexing_jobs.c[name] for name in plain]
    return [*columns, small(parameters, extent), octets(parameters).label("size")]


AN_ATTEMPT = [
    cut(column, ALONE if column.key == "detail" else IN_LISTS) if isinstance(column.type, String) else column
    for column in (job_attempts.c[name] for name in AttemptView.__dataclass_fields__)
]
"""The columns of an attempt's view."""

IN_A_LIST = shown(IN_LISTS)
ALL = shown(ALONE)


def in_a_list(row: AnyRow) -> JobView:
    """A row of `IN_A_LIST`, as others may see it."""
    return _view(row, "ask for the job itself")


def alone(row: AnyRow) -> JobView:
    """A row of `ALL`, as others may see it."""
    return _view(row, f"at most {LARGEST_PARAMETERS} are shown")


def _view(row: AnyRow, instead: str) -> JobView:
    values = dict(row._mapping)
    size, text = values.pop("size"), values.pop("job_parameters")
    parameters = {"omitted": f"{size} bytes; {instead}"} if size and text is None else _decoded(text)
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
