"""Settle and claim in one round trip and one commit, for batches of short jobs without a lane.

The two databases' own SQL stand beside each other here and nowhere else. Postgres does all of it in one statement;
SQLite has no data-modifying CTE, so three statements share one transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Integer, cast, func, insert, literal, null, select, union_all
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection

from .counters import tally
from .job import Job, Status
from .statements import CLAIMED, claim, settle_completed, settle_completed_each
from .tables import count_deltas


def settle_and_claim_on_postgres(
    connection: Connection, done: Sequence[Job], limit: int, parameters: dict[str, Any], near: bool
) -> tuple[set[int], list[Job]]:
    """Record success of `done` and claim up to `limit` more; returns the ids that were settled, and the new claims."""
    parameters |= {"ids": [each.id for each in done], "leases": [each.lease for each in done]}
    rows = connection.execute(_fused(limit, near), parameters).all()
    settled = {row[0] for row in rows if row[-1]}
    return settled, [Job._make(row[:-1]) for row in rows if not row[-1]]


@cache
def _fused(limit: int, near: bool) -> Any:
    settled = settle_completed().cte("settled")
    counted = (
        insert(count_deltas)
        .from_select(
            ["program_id", "counter", "change"],
            select(settled.c.program_id, literal(Status.COMPLETED.value), func.count()).group_by(settled.c.program_id),
        )
        .cte("counted")
    )
    claimed = claim(limit, one_writer=False, near=near).cte("claimed")
    blanks = [cast(null(), column.type) for column in CLAIMED[1:]]
    return union_all(
        select(settled.c.id, *blanks, literal(1, Integer).label("is_settled")),
        select(*claimed.c, literal(0, Integer)),
    ).add_cte(counted)


def settle_on_postgres(connection: Connection, done: Sequence[Job], parameters: dict[str, Any]) -> set[int]:
    """Record success of `done` alone; returns the ids that were settled."""
    if not done:
        return set()
    parameters |= {"ids": [each.id for each in done], "leases": [each.lease for each in done]}
    rows = connection.execute(_SETTLE, parameters).all()
    tally(connection, Counter((row.program_id, Status.COMPLETED.value) for row in rows))
    return {row.id for row in rows}


def settle_on_sqlite(connection: Connection, done: Sequence[Job], parameters: dict[str, Any]) -> set[int]:
    """The same, one row at a time, which is what costs least there. Raises `PartlyLost` if any lease was lost."""
    if not done:
        return set()
    tag = parameters["done_tag"]
    result = connection.exec_driver_sql(_settle_each_text(), [(each.id, each.lease, tag) for each in done])
    if result.rowcount != len(done):
        raise PartlyLost
    tally(connection, Counter((each.program_id, Status.COMPLETED.value) for each in done))
    return {each.id for each in done}


class PartlyLost(Exception):
    """Some of a batch is not the caller's any more: the transaction must be undone and each job settled by itself."""


@cache
def claim_of(limit: int, one_writer: bool, near: bool) -> Any:
    """The claim statement with this limit in its text, made once."""
    return claim(limit, one_writer, near)


@cache
def _settle_each_text() -> str:
    """The driver's own text: SQLAlchemy's handling of named parameters costs as much as SQLite's update of the row."""
    compiled = settle_completed_each().compile(dialect=sqlite.dialect())
    assert getattr(compiled, "positiontup", None) == ["b_id", "b_lease", "done_tag"]
    return str(compiled)


_SETTLE = settle_completed()
