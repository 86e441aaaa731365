"""Which job of a lane may run: the lane's head, chosen under the lane's row lock.

Locks are taken in one order everywhere: a running or unexamined job before its lane, lanes by name and once in a
transaction, a lane before what waits in it. Whoever holds a lane does not wait for a pending job that others may hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Select, bindparam, func, literal, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from .counters import Moves, note_wait, tally
from .dialects import AnyRow, insert_for
from .job import Status
from .statements import IS_PENDING, IS_RUNNING, ORDER, waits_for
from .tables import indexing_jobs, lanes, now

job = indexing_jobs.c


def elect(connection: Connection, names: Iterable[str], moves: Moves) -> int:
    """Let each free lane's best waiting job become its head, and replace a head that has not started by a better one.

    Returns how many jobs became ready, and adds to `moves` what the caller has to tally. Whoever ends the holder of a lane
    calls this in the same transaction.
    """
    wanted = sorted(set(names))
    if not wanted:
        return 0
    heads = lock(connection, wanted)
    return sum(_elect_in_one(connection, name, heads[name], moves) for name in wanted)


def lock(connection: Connection, names: Sequence[str]) -> dict[str, int | None]:
    """Lock the rows of these lanes in name order, making those that are missing; returns their heads."""
    if not names:
        return {}
    connection.execute(insert_for(connection, lanes).on_conflict_do_nothing(), [{"name": name} for name in names])
    rows = connection.execute(
        select(lanes.c.name, lanes.c.head).where(lanes.c.name.in_(names)).order_by(lanes.c.name).with_for_update()
    )
    return {row.name: row.head for row in rows}


def _elect_in_one(connection: Connection, name: str, head: int | None, moves: Moves) -> int:
    holder = _holder(connection, name, head)
    if holder is not None and holder.status == Status.RUNNING:
        return 0
    while (best := _best_waiting(connection, name)) is not None:
        if holder is not None:
            if not (_rank(best) < _rank(holder) and _demote(connection, holder.id)):
                return 0
            note_wait(moves, holder.program_id, None, "lane")
        holder = None
        if _promote(connection, name, best.id):
            note_wait(moves, best.program_id, "lane", None)
            return 1
    return 0


def _holder(connection: Connection, name: str, head: int | None) -> AnyRow | None:
    """The lane's head if it still runs or may be claimed; read without a lock, since whoever ends it elects again."""
    if head is None:
        return None
    return connection.execute(
        select(job.id, job.program_id, job.status, job.priority, job.created_at).where(
            job.id == head, job.lane == name, IS_RUNNING | job.ready_at.is_not(None)
        )
    ).first()


def _best_waiting(connection: Connection, name: str) -> AnyRow | None:
    return connection.execute(
        select(job.id, job.program_id, job.priority, job.created_at)
        .where(job.lane == name, waits_for("lane"))
        .order_by(*ORDER)
        .limit(1)
    ).first()


def _rank(row: AnyRow) -> tuple[Any, ...]:
    return (-row.priority, row.created_at, row.id)


def _demote(connection: Connection, job_id: int) -> bool:
    """Send a head that has not started back behind its betters; False when it was claimed, or is about to be."""
    free = select(job.id).where(job.id == job_id, IS_PENDING, job.ready_at.is_not(None))
    if connection.execute(free.with_for_update(skip_locked=True, key_share=True)).first() is None:
        return False
    connection.execute(update(indexing_jobs).where(job.id == job_id).values(ready_at=None, waits_for="lane"))
    return True


def _promote(connection: Connection, name: str, job_id: int) -> bool:
    """Make a waiting job the lane's head; False when it went elsewhere since it was looked at."""
    promoted = connection.execute(
        update(indexing_jobs)
        .where(job.id == job_id, job.lane == name, waits_for("lane"))
        .values(ready_at=now(), waits_for=None)
    )
    if promoted.rowcount != 1:
        return False
    _make_head(connection, name, job_id)
    return True


def _make_head(connection: Connection, name: str, job_id: int) -> None:
    connection.execute(
        update(lanes).where(lanes.c.name == bindparam("lane_name")).values(head=job_id), {"lane_name": name}
    )


def go_on(connection: Connection, names: Iterable[str]) -> int:
    """Let these lanes choose their heads, whatever became of the former ones; returns how many jobs became ready."""
    moves = Moves()
    promoted = elect(connection, names, moves)
    tally(connection, moves)
    return promoted


def without_head(connection: Connection, after: str | None, batch: int) -> tuple[list[str], str | None]:
    """Those of the next `batch` lanes with waiting jobs, in the order of their names, whose head is gone or over.

    Also says where to go on; None: from the beginning. Nobody chooses a new head when another program deletes or ends the former.
    """
    rows = connection.execute(_lanes_in_order(after, batch)).all()
    names = [row.lane for row in rows if row.lane is not None]
    return [row.lane for row in rows if row.lane is not None and row.head is None], names[-1] if len(names) == batch else None


def _lanes_in_order(after: str | None, batch: int) -> Select[Any]:
    """One look into the index of waiting jobs for each lane, however many jobs wait in it, and one for its head.

    The head is a scalar subquery: what a planner may turn into a join, it may look for among all jobs there ever were.
    """
    first = select(func.min(job.lane).label("lane"), literal(1).label("place")).where(waits_for("lane"))
    found = (first if after is None else first.where(job.lane > after)).cte("found", recursive=True)
    following = select(func.min(job.lane)).where(waits_for("lane"), job.lane > found.c.lane).scalar_subquery()
    more = found.c.lane.is_not(None) & (found.c.place < batch)
    found = found.union_all(select(following, found.c.place + 1).where(more))
    alive = select(job.id).join(lanes, lanes.c.head == job.id)
    theirs = (lanes.c.name == found.c.lane) & (job.lane == found.c.lane) & (IS_RUNNING | job.ready_at.is_not(None))
    return select(found.c.lane, alive.where(theirs).scalar_subquery().label("head"))


def is_overlap(error: IntegrityError) -> bool:
    """Whether this is the refusal of a second running job of a lane: by the index, which SQLite calls by its column."""
    said = str(error.orig)
    return "jobqueue_one_runs_in_a_lane" in said or "indexing_jobs.lane" in said


def keep_apart(connection: Connection, job_types: Sequence[str], among: int) -> list[int]:
    """Send jobs back to wait that somebody made ready beside the one that has their lane, among the next so many.

    Returns their ids. Only another program does that, or one that changes the lane of a job.
    """
    ready = select(job.id, job.program_id, job.lane).where(job.ready_at.is_not(None), job.job_type.in_(job_types))
    laned = [row for row in connection.execute(ready.order_by(*ORDER).limit(among)) if row.lane is not None]
    names = sorted({row.lane for row in laned})
    heads, moves, sent_back = lock(connection, names), Moves(), []
    for name in names:
        first = _running(connection, name) or heads[name]
        for row in laned:
            if row.lane == name and row.id != first and _demote(connection, row.id):
                note_wait(moves, row.program_id, None, "lane")
                sent_back.append(row.id)
        if first is not None:
            _make_head(connection, name, first)
        _elect_in_one(connection, name, first, moves)
    tally(connection, moves)
    return sent_back


def _running(connection: Connection, name: str) -> int | None:
    return connection.execute(select(job.id).where(job.lane == name, IS_RUNNING)).scalar()
