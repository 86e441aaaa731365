"""Admission: what makes a pending job claimable.

Another program's INSERT leaves a pending row and nothing else. Admit looks at rows nobody has looked at yet and at those
whose time has come, and gives each its reason to wait, or none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import String, bindparam, case, cast, false, func, null, or_, select, update
from sqlalchemy.engine import Connection

from .counters import Moves, note_wait, tally
from .dialects import AnyRow, one_writer
from .keys import KeyProblem
from .lanes import elect
from .portions import Portion, search, searchable
from .secrets import keep_for_jobs, problem_of_key
from .statements import IS_PENDING, waits_for
from .tables import indexing_jobs, job_types, now

job = indexing_jobs.c
LANE_FIELDS = ("program_id", "user_id", "folder_id", "job_type")
"""What a lane's template may name."""

LONGEST_NAME = 500
"""Characters of a lane's or a job type's name: an index takes about 2,700 bytes, and one row must not stop admission."""

_UNEXAMINED = IS_PENDING & job.ready_at.is_(None) & job.waits_for.is_(None)


def lane_of(template: str | None, row: Any) -> str | None:
    """The lane of a job: its type's template filled with the job's own values; None without a template.

    The end of a long name is replaced by its hash.
    """
    if template is None:
        return None
    name = template.format(**{field: getattr(row, field) for field in LANE_FIELDS})
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{name[:LONGEST_NAME - len(digest) - 1]}:{digest}"


class Admitted(NamedTuple):
    """How many jobs became ready, and whether rows that could have been examined were left because it took long enough."""

    ready: int = 0
    left_some: bool = False


def admit(connection: Connection, limit: int) -> Admitted:
    """Examine at most `limit` new and `limit` due rows, or as many as take little time."""
    if one_writer(connection):
        _normalise_foreign_times(connection, limit)
    rows = _locked(connection, _UNEXAMINED, job.id, limit)
    rows += _locked(
        connection,
        # The clock is read once, in a subquery: the server compares no index with a function that may change by the row.
        waits_for("time") & (job.scheduled_at <= select(now()).scalar_subquery()),
        job.scheduled_at,
        limit,
    )
    return _place(connection, rows) if rows else Admitted()


def admit_again(connection: Connection, limit: int) -> Admitted:
    """The same for at most `limit` jobs each whose reason to wait is none any more: nobody else says when it ceases to be one.

    They waited for a key to encrypt their secrets, for a supervisor that serves their type, or for a time that was taken away.
    """
    rows = _locked(connection, waits_for("key"), job.id, limit)
    if rows and problem_of_key(connection) is not None:
        rows = []
    if served := connection.execute(_SERVED_MEANWHILE).scalars().all():
        rows += _locked(connection, waits_for("handler") & job.job_type.in_(served), job.id, limit)
    # Apart from what is due: the index holds these at one end and those at the other.
    rows += _locked(connection, waits_for("time") & job.scheduled_at.is_(None), job.scheduled_at, limit)
    return _place(connection, rows) if rows else Admitted()


# The first along the index of those that wait for a handler: a planner must not look for one among all jobs.
_WAITS = select(func.min(job.job_type)).where(waits_for("handler"), job.job_type.between(job_types.c.name, job_types.c.name))
_SERVED_MEANWHILE = select(job_types.c.name).where(_WAITS.scalar_subquery().is_not(None))
"""Known types of which a job waits to be served: on Postgres whoever makes a type known does not see what is being examined.

One look into an index for each type, however many jobs wait.
"""


def _locked(connection: Connection, where: Any, first: Any, limit: int) -> list[AnyRow]:
    return list(
        connection.execute(
            select(
                job.id,
                *(job[field] for field in LANE_FIELDS),
                job.waits_for,
                (job.scheduled_at > now()).label("early"),
                _outlandish(connection).label("outlandish"),
                *searchable(),
            )
            .where(where)
            .order_by(first)
            .limit(limit)
            .with_for_update(skip_locked=True, key_share=True)
        )
    )


def _place(connection: Connection, found: list[AnyRow]) -> Admitted:
    """Give the first of these rows their reasons to wait, or make them ready; then let the lanes concerned choose their heads."""
    known = {row.name: row for row in connection.execute(select(job_types.c.name, job_types.c.lane))}
    placed: dict[str, list[dict[str, Any]]] = {"ready": [], "waiting": []}
    touched, moves = set(), Moves()
    portion = search(connection, found)
    unsafe = _take_secrets(connection, portion)
    for row in portion.rows:
        kind = known.get(row.job_type)
        lane = lane_of(kind.lane, row) if kind else None
        reason = "key" if row.id in unsafe else _reason(row, lane, bool(kind))
        note_wait(moves, row.program_id, row.waits_for, reason)
        placed["waiting" if reason else "ready"].append({"b_id": row.id, "b_lane": lane, "b_reason": reason})
        if reason == "lane" and lane is not None:
            touched.add(lane)
    _bring_within_reach(connection, [row.id for row in portion.rows if row.outlandish])
    _write(connection, placed["waiting"], ready_at=null())
    _write(connection, placed["ready"], ready_at=now())
    promoted = elect(connection, touched, moves)
    tally(connection, moves)
    return Admitted(len(placed["ready"]) + promoted, len(portion.rows) < len(found))


def _reason(row: AnyRow, lane: str | None, is_known: bool) -> str | None:
    if not is_known:
        return "name" if len(row.job_type) > LONGEST_NAME else "handler"
    return "time" if row.early else None if lane is None else "lane"


def _take_secrets(connection: Connection, portion: Portion) -> set[int]:
    """Take the secrets out of what others inserted; returns the jobs that must wait, for there is no key to encrypt them."""
    taken = {job_id: found for job_id, (_, found) in portion.parted.items() if found}
    unsafe: set[int] = set()
    try:
        keep_for_jobs(connection, taken)
    except KeyProblem:
        unsafe = set(taken)
    kept = {job_id: text for job_id, (text, _) in portion.parted.items() if job_id not in unsafe}
    changed = [{"b_id": job_id, "b_text": text} for job_id, text in kept.items() if text != portion.texts[job_id]]
    if changed:
        rewritten = update(indexing_jobs).where(job.id == bindparam("b_id")).values(job_parameters=bindparam("b_text"))
        connection.execute(rewritten, changed)
    return unsafe


def _write(connection: Connection, rows: list[dict[str, Any]], *, ready_at: Any) -> None:
    if rows:
        connection.execute(
            update(indexing_jobs)
            .where(job.id == bindparam("b_id"), IS_PENDING)
            .values(lane=bindparam("b_lane"), waits_for=bindparam("b_reason"), ready_at=ready_at, examined=null()),
            rows,
        )


def seconds_until_due(connection: Connection) -> float | None:
    """Seconds until the earliest job that waits for its time is due (never negative); None when none waits."""
    earliest, clock = connection.execute(
        select(
            select(func.min(job.scheduled_at)).where(waits_for("time")).scalar_subquery(),
            now(),
        )
    ).one()
    return None if earliest is None else max(0.0, (earliest - clock).total_seconds())


_ONE_FORM = "____-__-__ __:__:__.______+00:00"


def _normalise_foreign_times(connection: Connection, limit: int) -> None:
    """Bring time texts that other programs wrote into the one sortable form; what cannot be read counts as now."""
    texts = {name: cast(job[name], String) for name in ("created_at", "scheduled_at")}
    next_ones = select(job.id).where(_UNEXAMINED).order_by(job.id).limit(limit)
    foreign = connection.execute(
        select(job.id, *(text.label(name) for name, text in texts.items())).where(
            job.id.in_(next_ones), or_(*(text.not_like(_ONE_FORM) for text in texts.values()))
        )
    ).all()
    for row in foreign:
        values = {name: _moment(row._mapping[name]) for name in texts if row._mapping[name] is not None}
        connection.execute(update(indexing_jobs).where(job.id == row.id).values(values))


def _moment(text: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return clock().replace(microsecond=0)  # SQLite's clock is coarser than ours: this must not be in its future


_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def _outlandish(connection: Connection) -> Any:
    """Postgres knows infinity, years before Christ and after 9999; a program that reads them fails."""
    if one_writer(connection):
        return false()
    return func.coalesce(or_(*(_out_of_reach(job[name]) for name in ("created_at", "scheduled_at"))), false())


def _out_of_reach(time: Any) -> Any:
    return (time < _EARLIEST) | (time > _LATEST)


def _bring_within_reach(connection: Connection, ids: list[int]) -> None:
    """Times that no program can read: the far future becomes the last year there is, everything else counts as now."""
    if ids:
        far = case((job.scheduled_at > _LATEST, _LATEST), (job.scheduled_at < _EARLIEST, now()), else_=job.scheduled_at)
        connection.execute(
            update(indexing_jobs)
            .where(job.id.in_(ids))
            .values(scheduled_at=far, created_at=case((_out_of_reach(job.created_at), now()), else_=job.created_at))
        )
