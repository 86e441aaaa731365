"""The audit: every change that a person made, written in the transaction of the change itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from .tables import audit, indexing_jobs

LONGEST_WORD, LONGEST_REASON = 200, 2_000
"""Characters that are kept of a name and of a reason."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the audit: who (`actor`, and `user_id` of a known user), by which way, what, when and why."""

    id: int
    at: datetime
    actor: str
    user_id: int | None
    via: str
    action: str
    program_id: int | None
    job_id: int | None
    reason: str | None
    detail: Mapping[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """The entry for JSON."""
        return asdict(self) | {"at": self.at.isoformat()}


def record(
    connection: Connection,
    caller_name: str,
    via: str,
    action: str,
    *,
    user_id: int | None = None,
    program_id: int | None = None,
    job_id: int | None = None,
    reason: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write one entry in the caller's transaction; `action` is a noun and a verb, as in `job.cancel`.

    Of a job only its id need be given: its program is looked up.
    Never fails for what a name or a reason holds: what no database can store is replaced, what is too long is cut.
    `detail` must be JSON without NUL.
    """
    connection.execute(
        insert(audit).values(
            actor=_storable(caller_name, LONGEST_WORD),
            via=via,
            action=action,
            user_id=user_id,
            program_id=_program_of(job_id) if program_id is None else program_id,
            job_id=job_id,
            reason=None if reason is None else _storable(reason, LONGEST_REASON),
            detail=None if detail is None else json.dumps(dict(detail)),
        )
    )


def _program_of(job_id: int | None) -> Any:
    if job_id is None:
        return None
    return select(indexing_jobs.c.program_id).where(indexing_jobs.c.id == job_id).scalar_subquery()


def read(
    connection: Connection, program_id: int | None = None, limit: int = 100, before: int | None = None
) -> list[Entry]:
    """At most `limit` entries, newest first; `before` is the id at which the former page ended."""
    statement = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if program_id is not None:
        statement = statement.where(audit.c.program_id == program_id)
    if before is not None:
        statement = statement.where(audit.c.id < before)
    return [_entry(row) for row in connection.execute(statement)]


def _entry(row: Any) -> Entry:
    values = row._asdict()
    return Entry(**values | {"detail": None if row.detail is None else json.loads(row.detail)})


def _storable(text: str, longest: int) -> str:
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()[:longest]
