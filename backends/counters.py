"""The counters: changes that whoever makes them appends, maintenance folds, and a recount sets right from the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Insert, Select, case, delete, func, insert, literal, select, text, union_all
from sqlalchemy.engine import Connection, Engine

from .dialects import insert_for, one_writer
from .engine import as_unavailable
from .job import FINAL, Status
from .postgres import allow
from .statements import IS_PENDING, IS_RUNNING
from .tables import count_deltas, counts, indexing_jobs

job = indexing_jobs.c
Moves = Counter[tuple[int, str]]
"""Changes of the counters that one transaction makes, by program and counter."""

WAITING = {"time": "scheduled", "lane": "waiting"}
"""The counter of the jobs that wait for each of these reasons."""

ONLY_GROW = ("removed", "discarded")
"""The counters of what happened, which no row tells any more: jobs that were pruned, and ends as failed."""

LONGEST_RECOUNT = 3600.0
"""Seconds for reading every row once."""


def note_wait(moves: Moves, program_id: int, before: str | None, after: str | None) -> None:
    """Note that a pending job of this program waited for `before` and waits for `after`; None: for nothing, or not pending."""
    for reason, change in ((before, -1), (after, +1)):
        if reason in WAITING:
            moves[program_id, WAITING[reason]] += change


def tally(connection: Connection, moves: Mapping[tuple[int, str], int]) -> None:
    """Append changes of the counters, by program and counter; maintenance folds them."""
    changes = [{"program_id": program, "counter": name, "change": n} for (program, name), n in moves.items() if n]
    if changes:
        connection.execute(insert(count_deltas), changes)


def fold_counts(connection: Connection, batch: int = 10_000) -> int:
    """Add a batch of appended changes to the counters and remove them; returns how many were folded."""
    chosen = (
        select(count_deltas.c.id, count_deltas.c.program_id, count_deltas.c.counter, count_deltas.c.change)
        .order_by(count_deltas.c.id)
        .limit(batch)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(chosen).all()
    sums = Moves()
    for row in rows:
        sums[row.program_id, row.counter] += row.change
    for (program_id, counter), total in sorted(sums.items()):
        addition = insert_for(connection, counts).values(program_id=program_id, counter=counter, total=total)
        connection.execute(
            addition.on_conflict_do_update(
                index_elements=["program_id", "counter"], set_={"total": counts.c.total + addition.excluded.total}
            )
        )
    if rows:
        connection.execute(delete(count_deltas).where(count_deltas.c.id.in_([row.id for row in rows])))
    return len(rows)


def totals(connection: Connection, mine: Any) -> Mapping[str, int]:
    """Every counter, and how many jobs run, over the programs for whose column the condition `mine(column)` holds.

    One statement, so that nobody folds or claims in between.
    """
    parts = [
        select(table.c.counter, func.sum(amount)).where(mine(table.c.program_id)).group_by(table.c.counter)
        for table, amount in ((counts, counts.c.total), (count_deltas, count_deltas.c.change))
    ]
    # Materialised, so that no planner looks for what runs among all that a program ever had.
    running = select(job.program_id).where(IS_RUNNING).cte("running").prefix_with("MATERIALIZED")
    parts.append(select(literal(Status.RUNNING.value), func.count()).select_from(running).where(mine(running.c.program_id)))
    sums: Counter[str] = Counter()
    for counter, total in connection.execute(union_all(*parts)):
        sums[counter] += int(total)
    return sums


def recount(engine: Engine) -> None:
    """Make the counters say what the rows say, exactly, whoever works meanwhile. Reads every row once.

    What is appended is the difference at one moment, so nobody who counts or folds at the same time is waited for or undone;
    on SQLite writers wait. Raises `DatabaseUnavailable`.
    """
    with as_unavailable(), engine.begin() as connection:
        if not one_writer(connection):
            allow(connection, LONGEST_RECOUNT)
            # Against another recount only: two that saw the same difference would both append it.
            connection.execute(text(f"LOCK TABLE {counts.name} IN SHARE UPDATE EXCLUSIVE MODE"))
        connection.execute(append_differences())


def append_differences() -> Insert:
    """The statement that appends, for each counter, what it lacks or has too much."""
    told = []
    for table, amount in ((counts, counts.c.total), (count_deltas, count_deltas.c.change)):
        told.append(select(table.c.program_id, table.c.counter, -amount).where(table.c.counter.not_in(ONLY_GROW)))
        # How many were ever created stays: what is not there any more was removed, by whomever.
        told.append(select(table.c.program_id, literal("removed"), amount).where(table.c.counter == "created"))
    found = union_all(*_what_the_rows_say(), *told).subquery("found")
    program_id, counter, number = found.c
    difference = func.sum(number)
    return insert(count_deltas).from_select(
        ["program_id", "counter", "change"],
        select(program_id, counter, difference).group_by(program_id, counter).having(difference != 0),
    )


def _what_the_rows_say() -> list[Select[Any]]:
    """Program, counter and number, in parts that must be added up."""
    reason = case((IS_PENDING, job.waits_for))
    kinds = (
        select(job.program_id, job.status, reason.label("reason"), func.count().label("number"))
        .group_by(job.program_id, job.status, reason)
        .cte("kinds")
    )
    of = kinds.c
    return [
        select(of.program_id, literal("created").label("counter"), of.number.label("number")),
        select(of.program_id, literal("removed"), -of.number),
        select(of.program_id, of.status, of.number).where(of.status.in_([status.value for status in sorted(FINAL)])),
        *(select(of.program_id, literal(name), of.number).where(of.reason == reason) for reason, name in WAITING.items()),
    ]
