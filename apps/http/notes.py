"""What a request changed, noted in the audit under its caller's name, in the transaction of the change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from ..access.audit import record
from .callers import Caller


def note(
    connection: Connection,
    caller: Caller,
    action: str,
    reason: str | None,
    program_id: int | None = None,
    job_id: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Note that the caller did this, and why."""
    record(
        connection,
        caller.name,
        caller.via,
        action,
        user_id=caller.user_id,
        program_id=program_id,
        job_id=job_id,
        reason=reason,
        detail=detail,
    )
