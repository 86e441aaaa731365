"""Admission: what makes a pending job claimable.

Another program's INSERT leaves a pending row and nothing else. Admit looks at rows nobody has looked at yet and at those
whose time has come, and gives each its reason to wait, or none.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import String, bindparam, cast, func, null, select, update
from sqlalchemy.engine import Connection

from .dialects import AnyRow, one_writer
from .job import Status
from .lanes import elect
from .tables import indexing_jobs, job_types, now

job = indexing_jobs.c
LANE_FIELDS = ("program_id", "user_id", "folder_id", "job_type")
"""What a lane's template may name."""

_UNEXAMINED = (job.status == Status.PENDING) & job.ready_at.is_(None) & job.waits_for.is_(None)


def lane_of(template: str | None, row: Any) -> str | None:
    """The lane of a job: its type's template filled with the job's own values; None without a template."""
    return template.format(**{field: getattr(row, field) for field in LANE_FIELDS}) if template else None


def admit(connection: Connection, limit: int) -> int:
    """Examine at most `limit` new and `limit` due rows; returns how many jobs became ready."""
    if one_writer(connection):
        _normalise_foreign_times(connection, limit)
    rows = _locked(connection, _UNEXAMINED, job.id, limit)
    rows += _locked(
        connection,
        (job.status == Status.PENDING) & (job.waits_for == "time") & (job.scheduled_at <= now()),
        job.scheduled_at,
        limit,
    )
    return _place(connection, rows) if rows else 0


def _locked(connection: Connection, where: Any, first: Any, limit: int) -> list[AnyRow]:
    return list(
        connection.execute(
            select(
                job.id, *(job[field] for field in LANE_FIELDS), (job.scheduled_at > now()).label("early"),
            )
            .where(where)
            .order_by(first)
            .limit(limit)
            .with_for_update(skip_locked=True, key_share=True)
        )
    )


def _place(connection: Connection, rows: list[AnyRow]) -> int:
    """Give each row its reason to wait, or make it ready; then let the lanes concerned choose their heads."""
    known = {row.name: row for row in connection.execute(select(job_types.c.name, job_types.c.lane))}
    placed: dict[str, list[dict[str, Any]]] = {"ready": [], "waiting": []}
    touched = set()
    for row in rows:
        kind = known.get(row.job_type)
        lane = lane_of(kind.lane, row) if kind else None
        reason = "handler" if kind is None else "time" if row.early else "lane" if lane else None
        placed["waiting" if reason else "ready"].append({"b_id": row.id, "b_lane": lane, "b_reason": reason})
        if reason == "lane" and lane:
            touched.add(lane)
    _write(connection, placed["waiting"], ready_at=null())
    _write(connection, placed["ready"], ready_at=now())
    return len(placed["ready"]) + elect(connection, touched)


def _write(connection: Connection, rows: list[dict[str, Any]], *, ready_at: Any) -> None:
    if rows:
        connection.execute(
            update(indexing_jobs)
            .where(job.id == bindparam("b_id"), job.status == Status.PENDING)
            .values(lane=bindparam("b_lane"), waits_for=bindparam("b_reason"), ready_at=ready_at),
            rows,
        )


def seconds_until_due(connection: Connection) -> float | None:
    """Seconds until the earliest job that waits for its time is due (never negative); None when none waits."""
    earliest, clock = connection.execute(
        select(
            select(func.min(job.scheduled_at)).where(job.status == Status.PENDING, job.waits_for == "time").scalar_subquery(),
            now(),
        )
    ).one()
    return None if earliest is None else max(0.0, (earliest - clock).total_seconds())


_TIMES: tuple[str, ...] = ("created_at", "scheduled_at")
_ONE_FORM = "____-__-__ __:__:__.______+00:00"


def _normalise_foreign_times(connection: Connection, limit: int) -> None:
    """Bring time texts that other programs wrote into the one sortable form; what cannot be read counts as now."""
    for name in _TIMES:
        text = cast(job[name], String)
        foreign = connection.execute(
            select(job.id, text.label("text"))
            .where(_UNEXAMINED, job[name].is_not(None), text.not_like(_ONE_FORM))
            .limit(limit)
        ).all()
        for row in foreign:
            connection.execute(update(indexing_jobs).where(job.id == row.id).values({name: _moment(row.text)}))


def _moment(text: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return clock()
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
