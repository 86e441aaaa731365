"""Lists of jobs, newest first, and the oldest that waits: along the index that fits, however long the history is.

A planner that believes old statistics takes the primary key for the shortest way to the newest of a program, and walks over all
the others. So the order is asked for as an index has it, the program first, and the program is given as a range: the primary key
does not have that order, and a range does not make it the same as that of the ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, literal, select, tuple_
from sqlalchemy.engine import Connection

from .dialects import along_indexes
from .job import Status
from .scope import EVERYTHING, Scope
from .statements import IS_LISTED_AS_PENDING, IS_RUNNING, has_status
from .tables import indexing_jobs
from .views import IN_A_LIST, JobView, in_a_list

job = indexing_jobs.c
EXAMINED_AT_MOST = 10_000
"""Rows that a page looks at when no index serves its filters."""

INDEXED = frozenset({Status.PENDING, Status.FAILED, Status.CANCELLED})
"""Statuses with an index `(program_id, id)` of their own. What runs is few, and found by the index of that."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, newest first. Older ones are asked for with `next_before`; None: there are none."""

    jobs: list[JobView]
    next_before: int | None


def page(
    connection: Connection,
    program_id: int | None,
    status: str | None,
    job_type: str | None,
    limit: int,
    before: int | None,
    scope: Scope = EVERYTHING,
) -> JobPage:
    """At most `limit` jobs within the scope, newest first, those with an id below `before` when given.

    Where no index serves the filters it looks at `EXAMINED_AT_MOST` rows, and `next_before` is where those end.
    """
    if status == Status.RUNNING:
        return _page(connection, _running(program_id, job_type, before, scope), limit)
    walk = _newest(select(*IN_A_LIST), program_id, before, scope)
    if status in INDEXED and program_id is not None:
        walk, status = walk.where(IS_LISTED_AS_PENDING if status == Status.PENDING else has_status(Status(status))), None
    rest = [column == value for column, value in ((job.status, status), (job.job_type, job_type)) if value is not None]
    if program_id is None and scope != EVERYTHING:
        rest.append(scope.holds_for(job.program_id))
    with along_indexes(connection):
        if not rest:
            return _page(connection, walk, limit)
        floor = connection.execute(walk.with_only_columns(job.id).offset(EXAMINED_AT_MOST - 1).limit(1)).scalar()
        if floor is not None:
            rest.append(job.id >= floor if program_id is None else tuple_(job.program_id, job.id) >= (program_id, floor))
        found = _page(connection, walk.where(*rest), limit)
    return found if found.next_before is not None else JobPage(found.jobs, floor)


def _page(connection: Connection, statement: Select[Any], limit: int) -> JobPage:
    """One more than is shown is asked for, to know whether there is more."""
    found = [in_a_list(row) for row in connection.execute(statement.limit(limit + 1))]
    return JobPage(found[:limit], found[limit - 1].id if len(found) > limit else None)


def _newest(statement: Select[Any], program_id: int | None, before: int | None, scope: Scope) -> Select[Any]:
    """All jobs, or those of one program within the scope, from the newest to the oldest."""
    if program_id is None:
        statement = statement.order_by(job.id.desc())
        return statement if before is None else statement.where(job.id < before)
    below = job.program_id <= program_id if before is None else tuple_(job.program_id, job.id) < (program_id, before)
    return (
        statement.where(job.program_id >= program_id, below, scope.holds_for(literal(program_id)))
        .order_by(job.program_id.desc(), job.id.desc())
    )


def _running(program_id: int | None, job_type: str | None, before: int | None, scope: Scope) -> Select[Any]:
    """Chosen among all that runs, which is set apart first: no planner may look for it elsewhere."""
    running = select(*IN_A_LIST).where(IS_RUNNING).cte("running").prefix_with("MATERIALIZED")
    statement = select(*running.c).where(scope.holds_for(running.c.program_id)).order_by(running.c.id.desc())
    for column, value in ((running.c.program_id, program_id), (running.c.job_type, job_type)):
        if value is not None:
            statement = statement.where(column == value)
    return statement if before is None else statement.where(running.c.id < before)


def oldest_pending(connection: Connection, program_id: int | None, scope: Scope = EVERYTHING) -> JobView | None:
    """The pending job with the lowest id within the scope, of one program or of all: one step into the index for each program."""
    programs = _programs(program_id, scope)
    first = (
        _pending(job.id).where(job.program_id.between(programs.c.id, programs.c.id)).correlate(programs).scalar_subquery()
    )
    lowest = select(func.min(first)).select_from(programs).scalar_subquery()
    row = connection.execute(select(*IN_A_LIST).where(job.id == lowest)).first()
    return in_a_list(row) if row else None


def _pending(column: Any) -> Select[Any]:
    """Of the first pending job in the order of their index."""
    return select(column).where(IS_LISTED_AS_PENDING).order_by(job.program_id, job.id).limit(1)


def _programs(program_id: int | None, scope: Scope) -> Any:
    """The programs, as `id`, that may have a pending job within the scope."""
    if program_id is not None:
        return select(literal(program_id).label("id")).where(scope.holds_for(literal(program_id))).cte("programs")
    mine = scope.programs()
    if mine is not None:
        return select(mine.subquery("mine").c.program_id.label("id")).cte("programs")
    programs = select(_pending(job.program_id).scalar_subquery().label("id")).cte("programs", recursive=True)
    following = _pending(job.program_id).where(job.program_id > programs.c.id).correlate(programs).scalar_subquery()
    return programs.union_all(select(following).where(programs.c.id.is_not(None)))
