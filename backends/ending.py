"""How attempts end: what the job becomes, why, what is counted, and who may run next in its lane."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from sqlalchemy import insert, update
from sqlalchemy.engine import Connection

from .backoff import RetryPolicy
from .counters import Moves, note_wait, tally
from .decisions import Counters, Decision, decide
from .dialects import AnyRow
from .job import FINAL, Kind, Outcome, Status
from .lanes import elect
from .secrets import delete_of_jobs
from .statements import UNLOCKED, job, later
from .tables import indexing_jobs, job_attempts, now

LONGEST_TEXT = 20_000
"""Characters kept of a reason or a traceback; the middle of a longer one is left out."""

LONGEST_WAIT = 10 * 366 * 86_400.0
"""Seconds that a job is put off at most; the calendars of both databases end somewhere."""


@dataclass(frozen=True, slots=True)
class Settled:
    """One attempt that was ended: the job's new status, what the attempt came to, and whose it was."""

    job_id: int
    status: Status
    kind: Kind
    reason: str
    job_type: str
    program_id: int
    lease: int
    locked_by: str

    @property
    def process_id(self) -> str:
        """The name of the worker that held the job."""
        return self.locked_by.rpartition(":")[0]

    @property
    def was_started(self) -> bool:
        """False for a job that was only given back, before anything was done for it."""
        return self.kind is not Kind.RELEASED or bool(self.reason)


def end(
    connection: Connection,
    rows: Sequence[AnyRow],
    outcome_of: Callable[[AnyRow], Outcome],
    policies: Mapping[str, RetryPolicy],
    random: Random,
) -> list[Settled]:
    """End the attempts of these rows, which the caller has locked in id order; promotes the next head of each lane."""
    settled, attempts, moves = [], [], Moves()
    holders = {row.id for row in rows if row.holds_secrets}
    for row in rows:
        outcome = outcome_of(row)
        decision = decide(_counters(row), outcome, policies.get(row.job_type, RetryPolicy()), random)
        _write(connection, row, decision)
        one = _settled(row, decision, outcome)
        settled.append(one)
        if outcome.kind is not Kind.COMPLETED and one.was_started:
            attempts.append(_attempt(row, outcome))
        if decision.status in FINAL:
            moves[row.program_id, decision.status] += 1
        else:
            note_wait(moves, row.program_id, None, _reason_to_wait(row, decision.after))
        if decision.status is Status.FAILED:
            moves[row.program_id, "discarded"] += 1
    if attempts:
        connection.execute(insert(job_attempts).values(ended_at=now()), attempts)
    delete_of_jobs(connection, [one.job_id for one in settled if one.status in FINAL and one.job_id in holders])
    elect(connection, {row.lane for row in rows if row.lane is not None}, moves)
    tally(connection, moves)
    return settled


def _counters(row: AnyRow) -> Counters:
    return Counters(row.retry_count, row.max_retries, row.interruptions, row.cancel_requested_at is not None)


def _settled(row: AnyRow, decision: Decision, outcome: Outcome) -> Settled:
    return Settled(
        row.id, decision.status, outcome.kind, outcome.reason, row.job_type, row.program_id, row.lease, row.locked_by
    )


def _write(connection: Connection, row: AnyRow, decision: Decision) -> None:
    values: dict[str, Any] = {
        "status": decision.status,
        "retry_count": decision.retry_count,
        "interruptions": decision.interruptions,
        "error_message": _clipped(decision.error) if decision.error else row.error_message,
        **UNLOCKED,
    }
    if decision.status is Status.PENDING:
        values |= _place_in_queue(row, decision.after)
    else:
        values |= {"completed_at": now(), "error_message": _clipped(decision.error) if decision.error else None}
        values |= {"holds_secrets": False} if row.holds_secrets else {}
    connection.execute(update(indexing_jobs).where(job.id == row.id).values(values))


def _place_in_queue(row: AnyRow, after: float) -> dict[str, Any]:
    """Where a job that runs again waits."""
    reason = _reason_to_wait(row, after)
    due = {"scheduled_at": later(min(after, LONGEST_WAIT))} if reason == "time" else {}
    return {"waits_for": reason, "ready_at": None if reason else now(), "examined": None, **due}


def _reason_to_wait(row: AnyRow, after: float) -> str | None:
    """A job that runs again waits for its time, behind its lane's head, or for nothing."""
    return "time" if after > 0 else None if row.lane is None else "lane"


def _attempt(row: AnyRow, outcome: Outcome) -> dict[str, Any]:
    return {
        "job_id": row.id,
        "lease": row.lease,
        "outcome": outcome.kind,
        "reason": _clipped(outcome.reason),
        "detail": _clipped(outcome.detail),
        "locked_by": row.locked_by,
        "started_at": row.started_at,
    }


def _clipped(text: str) -> str:
    text = text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if len(text) <= LONGEST_TEXT:
        return text
    half = LONGEST_TEXT // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"
