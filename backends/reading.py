"""What people and programs may read of jobs: one job, a page of them, its attempts, the counters, and why one waits."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, func, literal_column, select, union_all
from sqlalchemy.engine import Connection

from .admission import LONGEST_NAME
from .counters import totals
from .dialects import AnyRow
from .extraction import UNREADABLE, masked, may_hold_secrets
from .fleet import living
from .job import FINAL, Status
from .scope import EVERYTHING, Scope
from .secrets import problem_of_key
from .statements import IS_PENDING, waits_for
from .tables import indexing_jobs, job_attempts, lanes, now

job = indexing_jobs.c


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


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, newest first. Older ones are asked for with `next_before`; None: there are none."""

    jobs: list[JobView]
    next_before: int | None


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


_SHOWN = [indexing_jobs.c[name] for name in JobView.__dataclass_fields__ if name != "parameters"]


def get(connection: Connection, job_id: int, scope: Scope = EVERYTHING) -> JobView | None:
    """The job of that id; None when there is none within the scope."""
    row = connection.execute(_jobs().where(job.id == job_id, scope.holds_for(job.program_id))).first()
    return _view(row) if row else None


def page(
    connection: Connection,
    program_id: int | None,
    status: str | None,
    job_type: str | None,
    limit: int,
    before: int | None,
    scope: Scope = EVERYTHING,
) -> JobPage:
    """At most `limit` jobs within the scope, newest first, those with an id below `before` when given."""
    statement = _jobs().where(scope.holds_for(job.program_id)).order_by(job.id.desc()).limit(limit + 1)
    for column, value in ((job.program_id, program_id), (job.status, status), (job.job_type, job_type)):
        if value is not None:
            statement = statement.where(column == value)
    if before is not None:
        statement = statement.where(job.id < before)
    found = [_view(row) for row in connection.execute(statement)]
    return JobPage(found[:limit], found[limit - 1].id if len(found) > limit else None)


def _jobs() -> Select[Any]:
    return select(*_SHOWN, job.job_parameters)


def _view(row: AnyRow) -> JobView:
    values = dict(row._mapping)
    parameters = _decoded(values.pop("job_parameters"))
    return JobView(**values, parameters=parameters)


def _decoded(text: str | None) -> dict[str, Any]:
    """The parameters without what admission has not taken out of them yet."""
    suspect = bool(text) and may_hold_secrets(text or "")
    try:
        value = json.loads(text) if text else {}
        shown = masked(value) if suspect else value
    except (ValueError, RecursionError):
        return {"invalid": UNREADABLE if suspect else text}
    if isinstance(shown, dict):
        return shown
    return {"invalid": json.dumps(shown) if suspect else text}


def attempts(connection: Connection, job_id: int) -> list[AttemptView]:
    """The job's attempts that ended other than completed, oldest first."""
    columns = [job_attempts.c[name] for name in AttemptView.__dataclass_fields__]
    rows = connection.execute(select(*columns).where(job_attempts.c.job_id == job_id).order_by(job_attempts.c.id))
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
        oldest_pending=_oldest_pending(connection, program_id, scope, pending),
    )


def _mine(program: Any, program_id: int | None, scope: Scope) -> Any:
    return scope.holds_for(program) if program_id is None else scope.holds_for(program) & (program == program_id)


FEW = 10_000
"""Up to so many pending jobs the oldest is sought among them, through the indexes that hold nothing else."""


def _oldest_pending(connection: Connection, program_id: int | None, scope: Scope, pending: int) -> JobView | None:
    """The pending job with the lowest id. Nothing but the pending is read when there are few: the history may be long."""
    if not pending:
        return None
    statement = _jobs().where(IS_PENDING).order_by(job.id).limit(1)
    if pending <= FEW:
        statement = _jobs().where(job.id == _oldest_of_few(program_id, scope))
    else:
        statement = statement.where(_mine(job.program_id, program_id, scope))
    row = connection.execute(statement).first()
    return _view(row) if row else None


def _oldest_of_few(program_id: int | None, scope: Scope) -> Any:
    # `id + 0`: ordered by the bare id, a planner that hopes for the best walks through the whole table.
    unexamined = IS_PENDING & job.ready_at.is_(None) & job.waits_for.is_(None)
    places = (job.ready_at.is_not(None), unexamined, waits_for("time"), waits_for("lane"), waits_for("handler"),
              waits_for("key"))
    mine = _mine(job.program_id, program_id, scope)
    lowest = [select(func.min(job.id + 0).label("id")).where(place, mine) for place in places]
    found = union_all(*lowest).subquery()
    return select(func.min(found.c.id)).scalar_subquery()


def why(connection: Connection, job_id: int, alive_within: float) -> list[str] | None:
    """What a job is waiting for, in sentences; None when there is no such job."""
    columns = (job.id, job.status, job.job_type, job.lane, job.ready_at, job.waits_for, job.scheduled_at, job.locked_by,
               job.locked_at, job.started_at, job.priority, job.created_at, job.error_message, job.retry_count,
               job.max_retries, job.cancel_requested_at, job.completed_at)
    row = connection.execute(select(*columns, now().label("clock")).where(job.id == job_id)).first()
    if row is None:
        return None
    if row.status == Status.RUNNING:
        return _why_running(row)
    if row.status in FINAL:
        return [f"{row.status} at {_time(row.completed_at)}" + (f": {row.error_message}" if row.error_message else "")]
    return _why_pending(connection, row) + _why_unserved(connection, row, alive_within) + _why_again(row)


def _why_running(row: AnyRow) -> list[str]:
    sentences = [f"running since {_time(row.started_at)} under {row.locked_by}, lease renewed at {_time(row.locked_at)}"]
    if row.cancel_requested_at:
        sentences.append(f"asked to stop at {_time(row.cancel_requested_at)}")
    return sentences


def _why_pending(connection: Connection, row: AnyRow) -> list[str]:
    if row.ready_at is not None:
        ahead = connection.execute(
            select(func.count()).select_from(
                select(literal_column("1")).where(job.ready_at.is_not(None), _before(row)).limit(1000).subquery()
            )
        ).scalar_one()
        return [f"ready; {ahead if ahead < 1000 else '1000 or more'} jobs ahead of it"]
    if row.waits_for == "time":
        left = (row.scheduled_at - row.clock).total_seconds()
        return [f"due at {_time(row.scheduled_at)}, in {max(0.0, left):.0f} s"]
    if row.waits_for == "lane":
        return [_why_in_lane(connection, row)]
    if row.waits_for == "handler":
        return [f"no supervisor has ever served job type {row.job_type!r}; add it to job_types in jobqueue.yaml"]
    if row.waits_for == "key":
        return [_why_without_key(connection)]
    if row.waits_for == "name":
        return [f"its job type's name is longer than {LONGEST_NAME} characters, which no handler has"]
    return ["not yet examined; maintenance of any running supervisor does that within its poll_interval"]


def _why_without_key(connection: Connection) -> str:
    problem = problem_of_key(connection)
    if problem is None:
        return "its parameters held a secret that nothing could encrypt; there is a key now, and it will be examined anew"
    return f"its parameters hold a secret, and it does not run before that is encrypted: {problem}"


def _why_in_lane(connection: Connection, row: AnyRow) -> str:
    head = connection.execute(
        select(job.id, job.status, job.started_at).join(lanes, lanes.c.head == job.id).where(lanes.c.name == row.lane)
    ).first()
    if head is None or head.status in FINAL:
        return f"waits for lane {row.lane!r}, which is about to choose its next job"
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
