"""What the supervisors of one database tell each other: who is alive, and what the job types are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.engine import Connection

from .counters import WAITING, Moves, note_wait, tally
from .dialects import AnyRow, insert_for, one_writer
from .lanes import elect, lock
from .statements import IS_PENDING, boot_parameters, later, waits_for
from .tables import indexing_jobs, job_types, now, supervisors

job = indexing_jobs.c


HEARD_OF_WITHIN = 86_400.0
"""Seconds after which no supervisor is alive, whatever its `lock_timeout`."""

_LOCK_TIMEOUT = "lock_timeout"
"""The key in `jobqueue_supervisors.status` that is not part of what a supervisor tells of its state."""


class LaneDisagreement(Exception):
    """A running supervisor gives a job type another lane; the message says which, and what to do."""


@dataclass(frozen=True, slots=True)
class JobTypeFacts:
    """What the database must know of a job type: its lane's template (None: no lane) and how often it is retried."""

    lane: str | None
    max_retries: int = 3


@dataclass(frozen=True, slots=True)
class SupervisorReport:
    """What a supervisor says of itself at each heartbeat. `job_types` maps names to lane templates; both mappings are JSON.

    `lock_timeout` is how long, in seconds, leases of its workers last.
    """

    id: str
    host: str
    pid: int
    started_at: datetime
    job_types: Mapping[str, str | None]
    status: Mapping[str, Any] = field(default_factory=dict)
    lock_timeout: float | None = None


@dataclass(frozen=True, slots=True)
class SupervisorView:
    """A supervisor as others see it; `age` is seconds since it was last heard of, by the database's clock."""

    id: str
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    age: float
    job_types: Mapping[str, str | None]
    status: Mapping[str, Any]
    lock_timeout: float | None = None


def register(connection: Connection, types: Mapping[str, JobTypeFacts], own_id: str, alive_within: float) -> None:
    """Make the job types known. Raises `LaneDisagreement` when a living supervisor gives one of them another lane.

    Jobs of a type that was unknown, or whose lane changed, are examined anew.
    """
    for other in living(connection, alive_within):
        for name, theirs in other.job_types.items():
            if other.id != own_id and name in types and types[name].lane != theirs:
                raise LaneDisagreement(
                    f"job type {name}: this file says lane {types[name].lane!r}, the supervisor running on {other.host}"
                    f" (pid {other.pid}) says {theirs!r}; stop that one first, or make the files agree"
                )
    before = {row.name: row.lane for row in connection.execute(select(job_types.c.name, job_types.c.lane))}
    for name, facts in sorted(types.items()):
        _make_known(connection, name, facts)
    changed = [name for name, facts in types.items() if name not in before or before[name] != facts.lane]
    if changed:
        _examine_anew(connection, changed)


def _examine_anew(connection: Connection, names: Sequence[str]) -> None:
    """Make pending jobs of these types wait for examination; the lanes whose heads they were go on with others."""
    theirs = (job.job_type.in_(names), IS_PENDING, job.ready_at.is_not(None) | job.waits_for.is_not(None))
    left = connection.execute(select(job.lane).where(*theirs, job.lane.is_not(None)).distinct()).scalars().all()
    lock(connection, sorted(left))
    anew = update(indexing_jobs).where(*theirs).values(ready_at=None, waits_for=None, lane=None)
    moves = Moves()
    for reason in WAITING:
        for program_id in connection.execute(anew.where(waits_for(reason)).returning(job.program_id)).scalars():
            note_wait(moves, program_id, reason, None)
    connection.execute(anew)
    elect(connection, left, moves)
    tally(connection, moves)


def _make_known(connection: Connection, name: str, facts: JobTypeFacts) -> None:
    addition = insert_for(connection, job_types).values(name=name, lane=facts.lane, max_retries=facts.max_retries)
    connection.execute(
        addition.on_conflict_do_update(
            index_elements=["name"], set_={"lane": addition.excluded.lane, "max_retries": addition.excluded.max_retries}
        )
    )


def was_served(connection: Connection, job_type: str) -> bool:
    """Whether a supervisor has ever made this job type known."""
    return connection.execute(select(job_types.c.name).where(job_types.c.name == job_type)).first() is not None


def report(connection: Connection, own: SupervisorReport) -> None:
    """Say that this supervisor lives, and how it is."""
    values = {
        "id": own.id,
        "host": own.host,
        "pid": own.pid,
        "started_at": own.started_at,
        "job_types": json.dumps(dict(own.job_types)),
        "status": json.dumps({**own.status, _LOCK_TIMEOUT: own.lock_timeout}),
    }
    addition = insert_for(connection, supervisors).values(**values, seen_at=now())
    connection.execute(addition.on_conflict_do_update(index_elements=["id"], set_={**values, "seen_at": now()}))


def forget(connection: Connection, supervisor_id: str) -> None:
    """This supervisor has left."""
    connection.execute(delete(supervisors).where(supervisors.c.id == supervisor_id))


def living(connection: Connection, within: float) -> Sequence[SupervisorView]:
    """The supervisors heard of within so many seconds, oldest first."""
    rows = connection.execute(
        select(supervisors, now().label("clock")).where(supervisors.c.seen_at > later(-within)).order_by(supervisors.c.started_at)
    )
    return [_view(row) for row in rows]


def _view(row: AnyRow) -> SupervisorView:
    status = json.loads(row.status)
    lock_timeout = status.pop(_LOCK_TIMEOUT, None)
    age = (row.clock - row.seen_at).total_seconds()
    types = json.loads(row.job_types)
    return SupervisorView(row.id, row.host, row.pid, row.started_at, row.seen_at, age, types, status, lock_timeout)


def expiry_parameters(connection: Connection, lock_timeout: float) -> dict[str, Any]:
    """The parameters of `statements.expired`: how long a lease lasts, which a living supervisor can prolong, and until when."""
    longest = _longest_lock_timeout(connection, lock_timeout)
    return {"lock_timeout": longest, **boot_parameters(one_writer(connection))}


def _longest_lock_timeout(connection: Connection, own: float) -> float:
    """The longest `lock_timeout` in seconds of the supervisors that are alive by their own, or `own`, if that is longer.

    A lease that one of them renews may be as old as that, and its worker is stopped by then and not earlier.
    """
    heard_of = select(now().label("clock"), supervisors.c.seen_at, supervisors.c.status)
    rows = connection.execute(heard_of.where(supervisors.c.seen_at > later(-HEARD_OF_WITHIN)))
    theirs: list[tuple[float, float | None]] = [
        ((row.clock - row.seen_at).total_seconds(), json.loads(row.status).get(_LOCK_TIMEOUT)) for row in rows
    ]
    return max([own, *(lock_timeout for age, lock_timeout in theirs if lock_timeout and age < lock_timeout)])
