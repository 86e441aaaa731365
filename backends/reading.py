"""What people and programs may read of jobs: one job, its attempts, the counters, and why one waits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, literal_column, select
from sqlalchemy.engine import Connection

from .admission import LONGEST_NAME
from .bounds import IN_LISTS, cut
from .counters import totals
from .dialects import AnyRow
from .fleet import living
from .job import FINAL, Status
from .pages import oldest_pending
from .scope import EVERYTHING, Scope
from .secrets import problem_of_key
from .tables import indexing_jobs, job_attempts, lanes
from .views import ALL, AN_ATTEMPT, AttemptView, JobView, alone

job = indexing_jobs.c

ATTEMPTS_SHOWN = 100
"""A job may have any number of them: an operator may retry it for ever."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many jobs there are. `pending` counts all that wait, `scheduled` those due later, `waiting` those behind a lane."""

    pending: int
    running: int
    completed: int
    failed: int
    cancelled: int
    scheduled: int
    waiting: int
    oldest_pending: JobView | None


def get(connection: Connection, job_id: int, scope: Scope = EVERYTHING) -> JobView | None:
    """The job of that id; None when there is none within the scope."""
    row = connection.execute(select(*ALL).where(job.id == job_id, scope.holds_for(job.program_id))).first()
    return alone(row) if row else None


def attempts(connection: Connection, job_id: int, limit: int = ATTEMPTS_SHOWN) -> list[AttemptView]:
    """The newest `limit` of the job's attempts that ended other than completed, oldest first."""
    of = job_attempts.c
    # Asked for as the index of jobs has them: a planner must not look for the newest along the primary key.
    newest = select(of.id).where(of.job_id.between(job_id, job_id)).order_by(of.job_id.desc(), of.id.desc()).limit(limit)
    rows = connection.execute(select(*AN_ATTEMPT).where(of.id.in_(newest)).order_by(of.id))
    return [AttemptView(*row) for row in rows]


def count(connection: Connection, program_id: int | None, scope: Scope = EVERYTHING) -> Counts:
    """The counters within the scope, of one program or of all; costs the same however long the history is."""
    sums = totals(connection, lambda column: _mine(column, program_id, scope))
    running = sums.get(Status.RUNNING, 0)
    final = sum(sums.get(status, 0) for status in FINAL)
    pending = max(0, sums.get("created", 0) - final - running)
    return Counts(
        pending=pending,
        running=running,
        completed=sums.get(Status.COMPLETED, 0),
        failed=sums.get(Status.FAILED, 0),
        cancelled=sums.get(Status.CANCELLED, 0),
        scheduled=sums.get("scheduled", 0),
        waiting=sums.get("waiting", 0),
        oldest_pending=oldest_pending(connection, program_id, scope) if pending else None,
    )


def _mine(program: Any, program_id: int | None, scope: Scope) -> Any:
    return scope.holds_for(program) if program_id is None else scope.holds_for(program) & (program == program_id)


def why(connection: Connection, job_id: int, alive_within: float, scope: Scope = EVERYTHING) -> list[str] | None:
    """What a job is waiting for, in sentences; None when there is no such job within the scope.

    They stay the same while nothing happens, whatever the clock says. Nothing in them tells of a job outside the scope, even
    one that is in the way.
    """
    texts = (cut(column, IN_LISTS) for column in (job.job_type, job.lane, job.locked_by, job.error_message))
    columns = (job.id, job.status, job.ready_at, job.waits_for, job.scheduled_at, job.locked_at, job.started_at, job.priority,
               job.created_at, job.retry_count, job.max_retries, job.cancel_requested_at, job.completed_at, *texts)
    mine = job.id == job_id, scope.holds_for(job.program_id)
    row = connection.execute(select(*columns).where(*mine)).first()
    if row is None:
        return None
    if row.status == Status.RUNNING:
        return _why_running(row)
    if row.status in FINAL:
        return [f"{row.status} at {_time(row.completed_at)}" + (f": {row.error_message}" if row.error_message else "")]
    return _why_pending(connection, row, scope) + _why_unserved(connection, row, alive_within) + _why_again(row)


def _why_running(row: AnyRow) -> list[str]:
    sentences = [f"running since {_time(row.started_at)} under {row.locked_by}, lease renewed at {_time(row.locked_at)}"]
    if row.cancel_requested_at:
        sentences.append(f"asked to stop at {_time(row.cancel_requested_at)}")
    return sentences


def _why_pending(connection: Connection, row: AnyRow, scope: Scope) -> list[str]:
    if row.ready_at is not None and scope != EVERYTHING:
        return ["ready; it runs as soon as its turn comes"]
    if row.ready_at is not None:
        ahead = connection.execute(
            select(func.count()).select_from(
                select(literal_column("1")).where(job.ready_at.is_not(None), _before(row)).limit(1000).subquery()
            )
        ).scalar_one()
        return [f"ready; {ahead if ahead < 1000 else '1000 or more'} jobs ahead of it"]
    if row.waits_for == "time":
        return [f"due at {_time(row.scheduled_at)}"]
    if row.waits_for == "lane":
        return [_why_in_lane(connection, row, scope)]
    if row.waits_for == "handler":
        return [f"no supervisor has ever served job type {row.job_type!r}; add it to job_types in jobqueue.yaml"]
    if row.waits_for == "key":
        return [_why_without_key(connection, scope)]
    if row.waits_for == "name":
        return [f"its job type's name is longer than {LONGEST_NAME} characters, which no handler has"]
    return ["not yet examined; maintenance of any running supervisor does that within its poll_interval"]


def _why_without_key(connection: Connection, scope: Scope) -> str:
    """Which key file is at fault is for who may mend it."""
    problem = problem_of_key(connection)
    if problem is None:
        return "its parameters held a secret that nothing could encrypt when it was examined; it will be examined anew"
    if scope != EVERYTHING:
        return "its parameters hold a secret, and it does not run before an administrator has given the installation a key"
    return f"its parameters hold a secret, and it does not run before that is encrypted: {problem}"


def _why_in_lane(connection: Connection, row: AnyRow, scope: Scope) -> str:
    visible = scope.holds_for(job.program_id).label("visible")
    of_lane = select(job.id, job.status, job.started_at, visible).join(lanes, lanes.c.head == job.id)
    head = connection.execute(of_lane.where(lanes.c.name == row.lane)).first()
    if head is None or head.status in FINAL:
        return f"waits for lane {row.lane!r}, which is about to choose its next job"
    if not head.visible:
        return f"waits for lane {row.lane!r}, which another job has"
    state = f"runs since {_time(head.started_at)}" if head.status == Status.RUNNING else f"is {head.status}"
    return f"waits for lane {row.lane!r}: job {head.id} {state}"


def _why_unserved(connection: Connection, row: AnyRow, alive_within: float) -> list[str]:
    alive = living(connection, alive_within)
    if not alive:
        return ["no supervisor is running: supervisor start"]
    if row.waits_for != "handler" and not any(row.job_type in each.job_types for each in alive):
        return [f"no running supervisor serves job type {row.job_type!r}"]
    return []


def _why_again(row: AnyRow) -> list[str]:
    if not row.retry_count:
        return []
    return [f"retry {row.retry_count} of {row.max_retries}, after: {row.error_message}"]


def _before(row: AnyRow) -> Any:
    same = job.priority == row.priority
    return (job.priority > row.priority) | (same & (job.created_at < row.created_at)) | (
        same & (job.created_at == row.created_at) & (job.id < row.id)
    )


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment else "an unknown time"
