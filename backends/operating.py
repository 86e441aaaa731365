"""What operators do to jobs: cancel and retry."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.engine import Connection

from .counters import Moves, note_wait, tally
from .dialects import AnyRow
from .extraction import part_text, suspects
from .job import FINAL, Status, legal_before
from .lanes import elect, lock
from .scope import EVERYTHING, Scope
from .secrets import delete_of_jobs
from .statements import IS_PENDING, IS_RUNNING
from .tables import indexing_jobs, now

job = indexing_jobs.c


class CancelAnswer(StrEnum):
    """What became of a wish to cancel."""

    CANCELLED = "cancelled"  # it was queued, and never will run
    ASKED = "asked"          # it runs: it was asked to stop, and will be made to
    FINAL = "final"          # it was over already
    MISSING = "missing"


class RetryAnswer(StrEnum):
    """What became of a wish to run a finished job again."""

    RETRIED = "retried"
    ACTIVE = "active"        # it is queued or running anyway
    MISSING = "missing"


def cancel(connection: Connection, job_id: int, scope: Scope = EVERYTHING) -> CancelAnswer:
    """Cancel a queued job, or ask a running one to stop; one outside the scope is as good as missing."""
    while True:
        row = _look(connection, job_id, scope)
        if row is None:
            return CancelAnswer.MISSING
        if row.status in FINAL:
            return CancelAnswer.FINAL
        if row.status == Status.RUNNING and _ask_to_stop(connection, job_id):
            return CancelAnswer.ASKED
        if row.status == Status.PENDING and _cancel_queued(connection, row):
            return CancelAnswer.CANCELLED


def _look(connection: Connection, job_id: int, scope: Scope) -> AnyRow | None:
    columns = (job.id, job.status, job.lane, job.program_id)
    return connection.execute(select(*columns).where(job.id == job_id, scope.holds_for(job.program_id))).first()


def _ask_to_stop(connection: Connection, job_id: int) -> bool:
    asked = connection.execute(
        update(indexing_jobs)
        .where(job.id == job_id, IS_RUNNING)
        .values(cancel_requested_at=func.coalesce(job.cancel_requested_at, now()))
    )
    return asked.rowcount == 1


def _cancel_queued(connection: Connection, row: AnyRow) -> bool:
    """Cancel it where it was seen waiting, the lane locked first; False when it is being claimed or examined just now.

    Whoever examines it may want its lane: so it is waited for without the lane in hand.
    """
    held_of = select(job.waits_for, job.holds_secrets, suspects(job.job_parameters).label("suspect"))
    seen = held_of.where(job.id == row.id, IS_PENDING, job.lane.is_not_distinct_from(row.lane))
    with connection.begin_nested() as attempt:
        if row.lane is not None:
            lock(connection, [row.lane])
        held = connection.execute(seen.with_for_update(skip_locked=True)).first()
        if held is not None:
            _cancel_held(connection, row, held)
        else:
            attempt.rollback()
    if held is None:
        with connection.begin_nested() as pause:
            connection.execute(select(job.id).where(job.id == row.id).with_for_update(read=True))
            pause.rollback()
    return held is not None


def _cancel_held(connection: Connection, row: AnyRow, held: AnyRow) -> None:
    """Cancel it. Its secrets go: those that are kept, and those that nobody had taken out of its parameters yet."""
    kept, found = part_text(held.suspect) if held.suspect else (None, {})
    secretless: dict[str, Any] = {"holds_secrets": False} if held.holds_secrets or found else {}
    connection.execute(
        update(indexing_jobs)
        .where(job.id == row.id, job.status.in_(legal_before(Status.CANCELLED, "cancel")))
        .values(
            status=Status.CANCELLED,
            completed_at=now(),
            cancel_requested_at=now(),
            ready_at=None,
            waits_for=None,
            error_message="cancelled before it ran",
            **secretless,
            **({"job_parameters": kept} if held.suspect else {}),
        )
    )
    delete_of_jobs(connection, [row.id] if held.holds_secrets else [])
    moves = Moves({(row.program_id, Status.CANCELLED): 1})
    note_wait(moves, row.program_id, held.waits_for, None)
    elect(connection, [row.lane] if row.lane is not None else [], moves)
    tally(connection, moves)


def retry(connection: Connection, job_id: int, scope: Scope = EVERYTHING) -> RetryAnswer:
    """Put a finished job back, unexamined, with all its retries; admission does the rest. Outside the scope: missing."""
    mine = select(job.id, job.status, job.program_id).where(job.id == job_id, scope.holds_for(job.program_id))
    row = connection.execute(mine.with_for_update(of=indexing_jobs)).first()
    if row is None:
        return RetryAnswer.MISSING
    if row.status not in legal_before(Status.PENDING, "retry"):
        return RetryAnswer.ACTIVE
    connection.execute(update(indexing_jobs).where(job.id == job_id).values(_AS_NEW))
    tally(connection, {(row.program_id, row.status): -1})
    return RetryAnswer.RETRIED


_AS_NEW: dict[str, Any] = {
    "status": Status.PENDING,
    "retry_count": 0,
    "interruptions": 0,
    **dict.fromkeys(
        ("completed_at", "error_message", "cancel_requested_at", "scheduled_at", "ready_at", "waits_for", "lane")
    ),
}
