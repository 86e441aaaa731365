"""The state of the whole installation as `/metrics` shows it; the cost does not grow with the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import CTE, String, cast, func, literal, select, true
from sqlalchemy.engine import Connection

from .counters import totals
from .dialects import one_writer
from .fleet import SupervisorView, expiry_parameters, living
from .inspection import oldest_transaction
from .job import FINAL
from .sqlite import log_size
from .statements import IS_PENDING, expired
from .statistics import Sum, recorded
from .tables import indexing_jobs, now

job = indexing_jobs.c
READY = job.ready_at.is_not(None)

MOST_PRIORITIES = 100
"""Among so many different priorities, the highest, the job that has been ready for longest is sought."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What there is. `jobs` counts each job in one state; `oldest_queued` is seconds, 0 when none could run now.

    `oldest_transaction` is the seconds for which somebody has kept Postgres from cleaning up; None on SQLite. `log_bytes` is the
    size of SQLite's write-ahead log; None on Postgres.
    """

    jobs: Mapping[str, int]
    enqueued: int
    discarded: int
    oldest_queued: float
    stalled: int
    supervisors: Sequence[SupervisorView]
    sums: Mapping[Sum, float]
    oldest_transaction: float | None = None
    log_bytes: int | None = None


def measure(connection: Connection, lock_timeout: float, heard_within: float) -> Measures:
    """Take the measures. `lock_timeout` tells which leases are dead, `heard_within` which supervisors are shown, in seconds."""
    counted = totals(connection, lambda column: true())
    return Measures(
        jobs=_by_state(counted),
        enqueued=counted.get("created", 0) + counted.get("removed", 0),
        discarded=counted.get("discarded", 0),
        oldest_queued=_oldest_queued(connection),
        stalled=_stalled(connection, lock_timeout),
        supervisors=living(connection, heard_within),
        sums=recorded(connection),
        oldest_transaction=_oldest_transaction(connection),
        log_bytes=log_size(connection.engine),
    )


def _oldest_transaction(connection: Connection) -> float | None:
    if one_writer(connection):
        return None
    oldest = oldest_transaction(connection)
    return oldest.age if oldest else 0.0


def _by_state(counted: Mapping[str, int]) -> dict[str, int]:
    """Every job in one state: what is pending and neither delayed nor behind a lane is queued."""
    apart = {name: counted.get(name, 0) for name in ("running", *sorted(FINAL), "scheduled", "waiting")}
    return {"queued": max(0, counted.get("created", 0) - sum(apart.values())), **apart}


def _oldest_queued(connection: Connection) -> float:
    """Seconds for which a job has been ready, or has waited to be examined.

    Looks at the first job of each priority, and at the first unexamined one: they are next, so it is they who wait when
    nobody comes.
    """
    priorities = _priorities()
    first_ready = (
        select(job.ready_at)
        .where(READY, job.priority == priorities.c.priority)
        .order_by(job.created_at, job.id)
        .limit(1)
        .scalar_subquery()
    )
    first_unexamined = (
        select(cast(job.created_at, String))
        .where(IS_PENDING, job.ready_at.is_(None), job.waits_for.is_(None))
        .order_by(job.id)
        .limit(1)
        .scalar_subquery()
    )
    ready = connection.execute(select(first_ready).select_from(priorities)).scalars().all()
    clock, unexamined = connection.execute(select(now(), first_unexamined)).one()
    since = [moment for moment in (*ready, _readable(unexamined)) if moment is not None]
    return float(max([0.0, *((clock - moment).total_seconds() for moment in since)]))


def _priorities() -> CTE:
    """The priorities that ready jobs have, the highest first, each found by one step through the claim's index."""
    highest = select(func.max(job.priority).label("priority"), literal(1).label("number")).where(READY)
    above = highest.cte("priorities", recursive=True)
    next_lower = select(func.max(job.priority)).where(READY, job.priority < above.c.priority).scalar_subquery()
    further = above.c.priority.is_not(None) & (above.c.number < MOST_PRIORITIES)
    return above.union_all(select(next_lower, above.c.number + 1).where(further))


def _readable(text: str | None) -> datetime | None:
    """The time that another program wrote; None when it wrote something else, which admission will mend."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _stalled(connection: Connection, lock_timeout: float) -> int:
    """Running jobs that nobody renews any more and nobody has taken back yet."""
    stalled = select(func.count()).select_from(indexing_jobs).where(expired(one_writer(connection)))
    return int(connection.execute(stalled, expiry_parameters(connection, lock_timeout)).scalar_one())
