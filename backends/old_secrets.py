"""Secrets in jobs that are older than the table of secrets: one walk over those jobs takes them out of the parameters."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.engine import Connection

from .dialects import AnyRow
from .extraction import part_text, suspects
from .job import FINAL
from .keys import KeyProblem
from .secrets import keep_for_jobs
from .tables import indexing_jobs, unfinished

WALK = "old secrets"

job, walk = indexing_jobs.c, unfinished.c


def has_old_secrets(connection: Connection) -> bool:
    """Whether there are jobs that were there before the table of secrets, and nobody has looked at yet."""
    return connection.execute(select(walk.name).where(walk.name == WALK)).first() is not None


def take_old_secrets(connection: Connection, batch: int) -> int:
    """Look at the next `batch` of those jobs; returns how many there were, 0 at the end of the walk.

    What is over loses its secrets. What waits or runs has them kept encrypted; without a key it is left, and the walk
    comes back to it after its end.
    """
    on = connection.execute(select(unfinished).where(walk.name == WALK).with_for_update()).first()
    if on is None:
        return 0
    found = connection.execute(
        select(job.id, suspects(job.job_parameters).label("suspect"))
        .where(job.id > on.position, job.id <= on.last)
        .order_by(job.id)
        .limit(batch)
    ).all()
    left = _take(connection, [row.id for row in found if row.suspect and part_text(row.suspect)[1]])
    come_back_to = on.come_back_to if on.come_back_to is not None else min(left, default=None)
    if found:
        _go_on(connection, found[-1].id, come_back_to)
    elif come_back_to is None:
        connection.execute(delete(unfinished).where(walk.name == WALK))
    else:
        _go_on(connection, come_back_to - 1, None)
    return len(found)


def _go_on(connection: Connection, position: int, come_back_to: int | None) -> None:
    there = update(unfinished).where(walk.name == WALK)
    connection.execute(there.values(position=position, come_back_to=come_back_to))


def _take(connection: Connection, ids: Sequence[int]) -> list[int]:
    """Take the secrets of these jobs; returns those that are not over and whose secrets nothing can encrypt."""
    if not ids:
        return []
    theirs = select(job.id, job.status, job.job_parameters).where(job.id.in_(ids)).order_by(job.id)
    rows = connection.execute(theirs.with_for_update(key_share=True)).all()
    over = [row for row in rows if row.status in FINAL]
    active = [row for row in rows if row.status not in FINAL]
    _rewrite(connection, over)
    connection.execute(update(indexing_jobs).where(job.id.in_([row.id for row in over])).values(holds_secrets=False))
    try:
        keep_for_jobs(connection, {row.id: part_text(row.job_parameters)[1] for row in active})
    except KeyProblem:
        return [row.id for row in active]
    _rewrite(connection, active)
    return []


def _rewrite(connection: Connection, rows: Sequence[AnyRow]) -> None:
    if rows:
        kept = [{"b_id": row.id, "b_text": part_text(row.job_parameters)[0]} for row in rows]
        connection.execute(
            update(indexing_jobs).where(job.id == bindparam("b_id")).values(job_parameters=bindparam("b_text")), kept
        )
