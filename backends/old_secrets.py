"""Secrets in jobs that are older than the table of secrets: one walk over those jobs takes them out of the parameters."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.engine import Connection

from .dialects import AnyRow
from .extraction import part_text
from .job import FINAL
from .keys import KeyProblem
from .portions import Portion, search, searchable
from .secrets import keep_for_jobs
from .tables import indexing_jobs, unfinished

WALK = "old secrets"

job, walk = indexing_jobs.c, unfinished.c


def has_old_secrets(connection: Connection) -> bool:
    """Whether there are jobs that were there before the table of secrets, and nobody has looked at yet."""
    return connection.execute(select(walk.name).where(walk.name == WALK)).first() is not None


def take_old_secrets(connection: Connection, batch: int) -> int:
    """Look at up to `batch` more of those jobs; returns at how many, 0 at the end of the walk.

    What is over loses its secrets. What waits or runs has them kept encrypted; without a key it is left, and the walk
    comes back to it after its end.
    """
    on = connection.execute(select(unfinished).where(walk.name == WALK).with_for_update()).first()
    if on is None:
        return 0
    found = connection.execute(
        select(job.id, *searchable())
        .where(job.id > on.position, job.id <= on.last)
        .order_by(job.id)
        .limit(batch)
    ).all()
    portion = search(connection, found)
    left = _take(connection, portion)
    come_back_to = on.come_back_to if on.come_back_to is not None else min(left, default=None)
    if portion.rows:
        _go_on(connection, portion.rows[-1].id, come_back_to)
    elif come_back_to is None:
        connection.execute(delete(unfinished).where(walk.name == WALK))
    else:
        _go_on(connection, come_back_to - 1, None)
    return len(portion.rows)


def _go_on(connection: Connection, position: int, come_back_to: int | None) -> None:
    there = update(unfinished).where(walk.name == WALK)
    connection.execute(there.values(position=position, come_back_to=come_back_to))


def _take(connection: Connection, portion: Portion) -> list[int]:
    """Take the secrets of these jobs; returns those that are not over and whose secrets nothing can encrypt."""
    ids = [job_id for job_id, (_, found) in portion.parted.items() if found]
    if not ids:
        return []
    theirs = select(job.id, job.status, job.job_parameters).where(job.id.in_(ids)).order_by(job.id)
    rows = connection.execute(theirs.with_for_update(key_share=True)).all()
    parted = {row.id: _parted(row, portion) for row in rows}
    over = [row.id for row in rows if row.status in FINAL]
    active = [row.id for row in rows if row.status not in FINAL]
    _rewrite(connection, {job_id: parted[job_id][0] for job_id in over})
    connection.execute(update(indexing_jobs).where(job.id.in_(over)).values(holds_secrets=False))
    try:
        keep_for_jobs(connection, {job_id: parted[job_id][1] for job_id in active})
    except KeyProblem:
        return active
    _rewrite(connection, {job_id: parted[job_id][0] for job_id in active})
    return []


def _parted(row: AnyRow, portion: Portion) -> tuple[str, dict[str, str]]:
    """What was found before the row was locked, if it has not changed since."""
    text = row.job_parameters or ""
    return portion.parted[row.id] if text == portion.texts[row.id] else part_text(text)


def _rewrite(connection: Connection, texts: Mapping[int, str]) -> None:
    if texts:
        kept = [{"b_id": job_id, "b_text": text} for job_id, text in texts.items()]
        connection.execute(
            update(indexing_jobs).where(job.id == bindparam("b_id")).values(job_parameters=bindparam("b_text")), kept
        )
