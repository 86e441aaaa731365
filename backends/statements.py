"""The statements of the queue, one function for each verb, written once for both databases.

`with_for_update` compiles to nothing on SQLite, where a writing transaction is the only one anyway.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, Update, bindparam, func, literal_column, null, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NULLTYPE, BigInteger, Float, String

from .bounds import up_to
from .job import LARGEST_CLAIMED, Job, Status
from .sqlite import boot_clock
from .tables import Moment, indexing_jobs, now

job = indexing_jobs.c
CLAIMED = tuple(up_to(LARGEST_CLAIMED, job[name]) if name == "job_parameters" else job[name] for name in Job._fields)
"""The columns of a claimed job, in the order of `Job`."""

ENDED = (job.id, job.job_type, job.program_id, job.lane, job.lease, job.locked_by, job.retry_count, job.max_retries,
         job.interruptions, job.cancel_requested_at, job.error_message, job.started_at, job.holds_secrets)
"""What must be known of a job to end its attempt; its parameters, which may be megabytes, stay where they are."""

LARGEST_LEASE = 2**62
"""After this the leases of a job begin anew. None gets there, but any program may write one: it must not overflow at a claim."""

ORDER = (job.priority.desc(), job.created_at, job.id)
"""The order of the queue: higher priority first, then older, then lower id."""


def _word(status: Status) -> Any:
    return literal_column(f"'{status.value}'", String)


def has_status(status: Status) -> ColumnElement[bool]:
    """Of this status; spelled in the text, since a plan made once for all parameters uses no index that depends on one."""
    named: ColumnElement[bool] = job.status == _word(status)
    return named


IS_PENDING = has_status(Status.PENDING)
IS_RUNNING = has_status(Status.RUNNING)

IS_LISTED_AS_PENDING = IS_PENDING & (job.id >= literal_column("-9223372036854775807"))
"""Pending, whatever its id: the words of the index for lists. Postgres must not take that for the index of those that wait for
something, as it did by statistics made while nothing was pending: admission then read all that is pending."""


def waits_for(reason: str) -> ColumnElement[bool]:
    """Pending, and not ready for this reason: 'time', 'lane', 'handler', 'name' or 'key'."""
    return IS_PENDING & (job.waits_for == literal_column(f"'{reason}'", String))


class later(FunctionElement[Any]):
    """The database's clock plus so many seconds: `later(seconds)`."""

    type = Moment()
    inherit_cache = True


@compiles(later, "postgresql")
def _later_on_postgres(element: later, compiler: SQLCompiler, **kw: Any) -> str:
    return f"clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **kw)})"


@compiles(later, "sqlite")
def _later_on_sqlite(element: later, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', {seconds} || ' seconds') || '000+00:00')"


class any_of(FunctionElement[Any]):
    """`any_of(column, parameter)`: the column is one of a list passed as one value (an array, or a JSON text on SQLite)."""

    type = NULLTYPE  # typed as Boolean it would be compared with 1 on SQLite, past its indexes
    inherit_cache = True


@compiles(any_of, "postgresql")
def _any_on_postgres(element: any_of, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} = ANY ({values})"


@compiles(any_of, "sqlite")
def _any_on_sqlite(element: any_of, compiler: SQLCompiler, **kw: Any) -> str:
    column, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"


class in_step(FunctionElement[Any]):
    """`in_step(key, keys, values)`: the value standing where the key stands in its list; Postgres only."""

    type = BigInteger()
    inherit_cache = True


@compiles(in_step)
def _in_step(element: in_step, compiler: SQLCompiler, **kw: Any) -> str:
    key, keys, values = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({values})[array_position({keys}, {key})]"


def still_mine(tag: str, jobs: Iterable[Job]) -> ColumnElement[bool]:
    """The one condition of every write about a running job: it runs, under this claim tag and this lease."""
    return (
        IS_RUNNING
        & (job.locked_by == tag)
        & tuple_(job.id, job.lease).in_([(each.id, each.lease) for each in jobs])
    )


def next_ready(limit: int, near: bool) -> CTE:
    """The first jobs in the queue's order that nobody else is about to take; `near`: of those that a near look sees.

    Materialised: a planner that inlines this under an UPDATE takes more than `limit` rows when its statistics are old.
    NO KEY UPDATE, so that it does not wait for foreign-key checks. The limit stands in the text, so that plans know it.
    """
    seen = [job.priority >= bindparam("least_priority"), job.created_at >= bindparam("since", type_=Moment)] if near else []
    return (
        select(job.id)
        .where(job.ready_at.is_not(None), any_of(job.job_type, _texts("job_types")), *seen)
        .order_by(*ORDER)
        .limit(bindparam("jobs", limit, literal_execute=True))
        .with_for_update(key_share=True, skip_locked=True)
        .cte("next")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )


def claim(limit: int, one_writer: bool, near: bool = False) -> Update:
    """Move the next ready jobs to running, under a new claim tag and a lease one higher. Returns `CLAIMED`."""
    chosen = next_ready(limit, near)
    # An array made first keeps the plan on the primary key whatever the statistics say; SQLite has no arrays.
    wanted = (
        job.id.in_(select(chosen.c.id))
        if one_writer
        else job.id == func.any(func.array(select(chosen.c.id).scalar_subquery(), type_=ARRAY(BigInteger)))
    )
    return (
        update(indexing_jobs)
        .where(wanted)
        .values(
            status=_word(Status.RUNNING),
            locked_by=bindparam("tag"),
            lease=job.lease % LARGEST_LEASE + 1,
            locked_at=now(),
            started_at=now(),
            ready_at=null(),
            waits_for=null(),
            locked_boot=bindparam("boot", type_=String),
            locked_boot_seconds=bindparam("boot_seconds", type_=Float),
        )
        .returning(*CLAIMED)
    )


def renew() -> Update:
    """Set `locked_at` of every running job under these tags; rows that others hold locked are left out, not waited for."""
    mine = (
        select(job.id)
        .where(of_tags())
        .with_for_update(key_share=True, skip_locked=True)
        .cte("mine")
    )
    return (
        update(indexing_jobs)
        .where(job.id.in_(select(mine.c.id)))
        .values(
            locked_at=now(),
            locked_boot=bindparam("boot", type_=String),
            locked_boot_seconds=bindparam("boot_seconds", type_=Float),
        )
        .returning(job.locked_by, job.id, job.lease, job.cancel_requested_at.is_not(None).label("cancel_requested"))
    )


def of_tags() -> ColumnElement[bool]:
    """Running under one of the claim tags in parameter `tags`."""
    return IS_RUNNING & any_of(job.locked_by, _texts("tags"))


def expired(one_writer: bool) -> ColumnElement[bool]:
    """Running, and not renewed for `lock_timeout` seconds.

    Postgres: by the server's clock. SQLite: by this boot's clock where it was recorded; a record of another boot has
    expired; without a record `locked_at` decides; NULL has expired.
    """
    overdue = job.locked_at.is_(None) | (job.locked_at < later(-bindparam("lock_timeout", type_=Float)))
    if not one_writer:
        return IS_RUNNING & overdue
    this_boot = bindparam("boot", type_=String)
    behind = job.locked_boot_seconds < bindparam("boot_seconds", type_=Float) - bindparam("lock_timeout", type_=Float)
    return IS_RUNNING & or_(
        job.locked_boot.is_(None) & overdue,
        job.locked_boot != this_boot,
        (job.locked_boot == this_boot) & behind,
    )


def boot_parameters(one_writer: bool) -> dict[str, Any]:
    """What SQLite's leases are timed by: this boot, and the seconds since it; both None on Postgres, whose clock does that."""
    if not one_writer:
        return {"boot": None, "boot_seconds": None}
    boot, seconds = boot_clock()
    return {"boot": boot, "boot_seconds": seconds}


def ended(where: ColumnElement[bool], *, skip_locked: bool, limit: int | None = None) -> Select[Any]:
    """Running jobs whose attempt is about to be ended, locked in one order: by claim tag, then id, as their index has it.

    FOR UPDATE, the one lock that a handler's fenced transaction (FOR KEY SHARE) excludes: after this, the fence is shut.
    """
    return (
        select(*ENDED)
        .where(where)
        .order_by(job.locked_by, job.id)
        .limit(limit)
        .with_for_update(skip_locked=skip_locked)
    )


def fence(tag: str, mine: Job) -> Select[Any]:
    """Hold the job against being ended by others until this transaction is over; no row when the lease is lost."""
    return select(job.id).where(still_mine(tag, [mine])).with_for_update(read=True, key_share=True)


def settle_completed() -> Update:
    """Record success of the jobs `ids` (leases in `leases`, in the same order) claimed under `tag`; Postgres only."""
    ids, leases = _numbers("ids"), _numbers("leases")
    return (
        update(indexing_jobs)
        .where(
            IS_RUNNING,
            job.locked_by == bindparam("done_tag"),
            job.id == func.any(ids),
            job.lease == in_step(job.id, ids, leases),
        )
        .values(_completed())
        .returning(job.id, job.program_id)
    )


def settle_completed_each() -> Update:
    """Record success of one job `b_id` under lease `b_lease`, claimed under `done_tag`; run many times over on SQLite."""
    return (
        update(indexing_jobs)
        .where(
            job.id == bindparam("b_id"),
            job.lease == bindparam("b_lease"),
            IS_RUNNING,
            job.locked_by == bindparam("done_tag"),
        )
        .values(_completed())
    )


def _completed() -> dict[str, Any]:
    return {"status": _word(Status.COMPLETED), "completed_at": now(), "error_message": null(), **UNLOCKED}


UNLOCKED: dict[str, Any] = {
    "locked_by": null(), "locked_at": null(), "locked_boot": null(), "locked_boot_seconds": null()
}
"""What every statement that ends `running` sets; spelled in the text, since each parameter costs on every row."""


def _texts(name: str) -> Any:
    return bindparam(name, type_=ARRAY(String).with_variant(String(), "sqlite"))


def _numbers(name: str) -> Any:
    return bindparam(name, type_=ARRAY(BigInteger))


def listed(values: Sequence[Any], one_writer: bool) -> Any:
    """A list in the form that `any_of` takes on this database."""
    return json.dumps(list(values)) if one_writer else list(values)
