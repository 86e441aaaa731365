"""Pruning: old finished jobs go in small steps; one that a row of another table still refers to stays, and is told of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import and_, delete, false, or_, select, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from .counters import tally
from .dialects import AnyRow, check_at_once, one_writer
from .job import FINAL, Status
from .secrets import delete_of_jobs
from .statements import later
from .tables import indexing_jobs, job_attempts

job = indexing_jobs.c


class Pruned(NamedTuple):
    """How many jobs a step deleted, whether it was the last one of a walk over them, and how many could not be deleted.

    `held_back` counts those of the whole walk by the constraint that holds them, at its end, if it is not what was said last.
    """

    gone: int
    is_over: bool
    held_back: Mapping[str, int]


class Step(NamedTuple):
    """What one transaction did: how many went, which constraints held how many, and where to go on; 0: from the beginning."""

    gone: int
    held_back: Counter[str]
    position: int


class Walk:
    """Where pruning is among the jobs, what this walk could not delete, and what was last said of that."""

    def __init__(self) -> None:
        self.position = 0
        self._held_back: Counter[str] = Counter()
        self._said: Counter[str] = Counter()

    def took(self, step: Step) -> Pruned:
        """Go on after a step that was committed."""
        self.position = step.position
        self._held_back += step.held_back
        if self.position:
            return Pruned(step.gone, False, {})
        found, self._held_back = self._held_back, Counter()
        is_news, self._said = found != self._said, found
        return Pruned(step.gone, True, found if is_news else {})


def prune(connection: Connection, retention: Mapping[Status, float], batch: int, after: int) -> Step:
    """Look at `batch` jobs with ids above `after` and delete the finished ones past their retention (seconds).

    The walk is over once the rows are too young. Looks at `batch` rows whatever the history holds.
    """
    youngest = later(-min(retention.values(), default=0.0))
    looked_at = connection.execute(
        select(job.id, job.status, job.program_id, job.completed_at, (job.created_at > youngest).label("young"))
        .where(job.id > after)
        .order_by(job.id)
        .limit(batch)
    ).all()
    old = or_(false(), *(and_(job.status == status, job.completed_at < later(-age)) for status, age in retention.items()))
    gone, held_back = _delete(connection, [row.id for row in looked_at if row.status in FINAL], old)
    connection.execute(delete(job_attempts).where(job_attempts.c.job_id.in_([row.id for row in gone])))
    delete_of_jobs(connection, [row.id for row in gone if row.holds_secrets])
    changes = Counter((row.program_id, str(row.status)) for row in gone)
    changes.update(Counter((row.program_id, "created") for row in gone))
    removed = Counter((row.program_id, "removed") for row in gone)
    tally(connection, {**{key: -n for key, n in changes.items()}, **removed})
    is_over = len(looked_at) < batch or bool(looked_at[-1].young)
    return Step(len(gone), held_back, 0 if is_over else looked_at[-1].id)


def _delete(connection: Connection, ids: Sequence[int], old: Any) -> tuple[list[AnyRow], Counter[str]]:
    """Delete them together, or, when something refers to one of them, each by itself."""
    held_back: Counter[str] = Counter()
    if not ids:
        return [], held_back
    check_at_once(connection)
    try:
        return _delete_together(connection, ids, old), held_back
    except IntegrityError:
        pass
    gone = []
    for job_id in ids:
        try:
            gone += _delete_together(connection, [job_id], old)
        except IntegrityError as error:
            held_back[_constraint(connection, error)] += 1
    return gone, held_back


def _delete_together(connection: Connection, ids: Sequence[int], old: Any) -> list[AnyRow]:
    with connection.begin_nested():
        deletion = delete(indexing_jobs).where(job.id.in_(ids), old)
        return list(connection.execute(deletion.returning(job.id, job.status, job.program_id, job.holds_secrets)))


def _constraint(connection: Connection, error: IntegrityError) -> str:
    """What forbids to delete a job, in words. SQLite does not say it: there it is one of those that could."""
    if one_writer(connection):
        return " or ".join(f"a foreign key of {table}" for table in connection.execute(_REFERRING).scalars()) or str(error.orig)
    said = getattr(error.orig, "diag", None)
    return f"{said.constraint_name} of {said.table_name}" if said and said.constraint_name else str(error.orig)


_REFERRING = text("""
    SELECT DISTINCT tables.name FROM sqlite_master AS tables, pragma_foreign_key_list(tables.name) AS keys
    WHERE tables.type = 'table' AND keys."table" = 'indexing_jobs' COLLATE NOCASE
        AND keys.on_delete NOT IN ('CASCADE', 'SET NULL') ORDER BY tables.name
""")
