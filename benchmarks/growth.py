"""What a claim costs beside a million other rows, as a ratio to the same without them, measured in one run."""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, event, func, select, text

from backends import Kind, Outcome, checkpoint, hot, indexing_jobs, statements

from . import report
from .stage import Stage

job = indexing_jobs.c
Measured = dict[str, tuple[float, str]]
"""Figures and their units by what they are about."""

TAG = "benchmark:0123456789abcdef"
DONE = Outcome(Kind.COMPLETED)
CLOCKS = {
    "sqlite": ("strftime('%Y-%m-%d %H:%M:%f000+00:00', 'now')", "strftime('%Y-%m-%d %H:%M:%f000+00:00', 'now', '+1 day')"),
    "postgresql": ("clock_timestamp()", "clock_timestamp() + interval '1 day'"),
}
FILL = """
    INSERT INTO indexing_jobs (program_id, user_id, job_parameters, {columns})
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :rows)
    SELECT 1, 1, '{{"pad": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}}', {values} FROM numbers
"""


class Neighbour(NamedTuple):
    """What else is in the table: the columns of those rows and their values, where `{now}` and `{later}` are moments."""

    columns: str
    values: str


NEIGHBOURS = {
    "completed": Neighbour("job_type, status, started_at, completed_at, lease", "'noop', 'completed', {now}, {now}, 1"),
    "of lower priority": Neighbour("job_type, examined, priority, ready_at", "'noop', true, -10, {now}"),
    "delayed": Neighbour("job_type, examined, scheduled_at, waits_for", "'noop', true, {later}, 'time'"),
    "waiting in one lane": Neighbour("job_type, examined, lane, waits_for, priority", "'laned', true, 'program:1', 'lane', -10"),
}


def main() -> int:
    """Measure as the command line says."""
    parser = report.options(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="how many other rows")
    parser.add_argument("--jobs", type=int, default=20_000, help="no-op jobs whose rate is measured")
    parser.add_argument("--claims", type=int, default=300, help="claims of one job whose latency is measured")
    parser.add_argument("--only", choices=[*NEIGHBOURS, OLD_TRANSACTION], nargs="+", help="only these neighbours")
    return report.run(parser, measure)


OLD_TRANSACTION = "under an old transaction"


def measure(server: str, arguments: argparse.Namespace) -> None:
    """Alone first, then beside each kind of neighbour."""
    alone = beside(server, None, arguments)
    print_compared("no other rows", alone, {})
    for name in arguments.only or NEIGHBOURS:
        if name in NEIGHBOURS:
            print_compared(f"{arguments.rows:,} {name}", beside(server, NEIGHBOURS[name], arguments), alone)
    if OLD_TRANSACTION in (arguments.only or [OLD_TRANSACTION]):
        print_compared(
            f"{OLD_TRANSACTION}, behind {arguments.jobs:,} jobs", beside(server, None, arguments, old_transaction=True), alone
        )


def print_compared(name: str, figures: Measured, alone: Measured) -> None:
    """Print the figures beside this neighbour, each with its ratio to the figure without any."""
    print(f"# {name}")
    for what, (figure, unit) in figures.items():
        ratio = f"ratio {figure / alone[what][0]:.2f}" if alone.get(what, (0, ""))[0] else ""
        report.line(f"  {what}", figure, unit, 1, ratio)


def beside(server: str, neighbour: Neighbour | None, arguments: argparse.Namespace, old_transaction: bool = False) -> Measured:
    """All figures of one database with these other rows in it."""
    with Stage(server, arguments.folder) as stage:
        if neighbour is not None:
            fill(stage, neighbour, arguments.rows)
        with old_snapshot(stage) if old_transaction else contextlib.nullcontext():
            return {**rate(stage, arguments.jobs), **claims(stage, arguments.claims), **looks(stage, 20),
                    **lane_steps(stage, 100), **chores(stage, crowded=neighbour is not None)}


def fill(stage: Stage, neighbour: Neighbour, rows: int) -> None:
    """Add the other rows as if they had come there in the usual way, and let the database take notice."""
    if "lane" in neighbour.columns:
        stage.enqueue(1, "laned", priority=-5)
        stage.queue.admit()
    now, later = CLOCKS[stage.queue.engine.dialect.name]
    statement = FILL.format(columns=neighbour.columns, values=neighbour.values.format(now=now, later=later))
    with stage.queue.engine.begin() as connection:
        connection.execute(text(statement), {"rows": rows})
        if "completed" in neighbour.values:
            connection.execute(text("INSERT INTO jobqueue_count_deltas (program_id, counter, change) VALUES"
                                    " (1, 'completed', :rows)"), {"rows": rows})
    while stage.queue.fold_counts():
        pass
    if stage.queue.engine.dialect.name == "postgresql":
        with stage.queue.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
    else:
        checkpoint(stage.queue.engine)


@contextlib.contextmanager
def old_snapshot(stage: Stage) -> Iterator[None]:
    """A transaction that looked at the table once and stays open: nothing that dies afterwards can be cleaned up."""
    with stage.queue.engine.connect().execution_options(jobqueue_read=True) as connection:
        if stage.queue.engine.dialect.name == "postgresql":
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        connection.execute(select(func.count()).select_from(indexing_jobs))
        yield


def rate(stage: Stage, jobs: int) -> Measured:
    """Jobs per second that a real supervisor with two workers claims and settles."""
    stage.enqueue(jobs, program_id=2)
    supervisor = stage.supervisor(2)
    supervisor.start()
    stage.all_done(jobs, within=1800, program_id=2)
    mine = select(func.min(job.started_at), func.max(job.completed_at)).where(job.program_id == 2)
    first, last = stage.queue.read(lambda connection: connection.execute(mine).one())
    supervisor.stop()
    return {"claim and settle, two workers": (jobs / (last - first).total_seconds(), "jobs/s")}


def claims(stage: Stage, count: int) -> Measured:
    """The latency of a claim of one job, and the buffers that it touches."""
    stage.enqueue(count + 1, program_id=3)
    seconds = [one_claim(stage, "noop") for _ in range(count)]
    milliseconds = [1000 * each for each in seconds]
    return {
        "claim of one job, median": (statistics.median(milliseconds), "ms"),
        "claim of one job, p99": (report.percentile(milliseconds, 0.99), "ms"),
        **buffers(stage),
    }


def one_claim(stage: Stage, job_type: str) -> float:
    """Claim one job and settle it; returns the seconds that the claim took."""
    began = time.perf_counter()
    claimed = stage.queue.claim(TAG, [job_type], 1)
    seconds = time.perf_counter() - began
    assert len(claimed) == 1, f"no {job_type} job to claim"
    stage.queue.settle(TAG, [(claimed[0], DONE)])
    return seconds


def looks(stage: Stage, count: int) -> Measured:
    """A claim that looks at all ready jobs, and one that looks near (`backends/looks.py`), both undone; on Postgres alone."""
    if stage.queue.engine.dialect.name == "sqlite":
        return {}
    stage.enqueue(1, program_id=4)
    newest = stage.queue.read(lambda connection: connection.execute(select(func.max(job.created_at))).scalar_one())
    given = {"tag": TAG, "job_types": statements.listed(["noop"], False), "least_priority": 0, "since": newest}
    given |= statements.boot_parameters(False)

    def ask(near: bool) -> float:
        with stage.queue.engine.connect() as connection:
            found: list[Any] = []
            took = milliseconds_of(lambda: found.extend(connection.execute(hot.claim_of(1, False, near), given)))
            assert len(found) == 1, "the newest job was not found"
            return took

    return {
        f"one {name} look, median": (statistics.median(ask(near) for _ in range(count)), "ms")
        for name, near in {"whole": False, "near": True}.items()
    }


def buffers(stage: Stage) -> Measured:
    """Postgres's own account of one claim; nothing on SQLite, which keeps none."""
    if stage.queue.engine.dialect.name == "sqlite":
        return {}
    statement, parameters = statements_of(stage, lambda: stage.queue.claim(TAG, ["noop"], 1))[0]
    stage.queue.release([TAG], "measured", interrupted=False)
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
    with stage.queue.engine.connect() as connection:
        said = connection.exec_driver_sql(explain, parameters).scalar_one()
    plan = (json.loads(said) if isinstance(said, str) else said)[0]["Plan"]
    return {"claim of one job, buffers": (plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], "pages")}


def lane_steps(stage: Stage, count: int) -> Measured:
    """A job of a lane from its claim until the next of the lane has taken its place."""
    stage.enqueue(count, "laned")
    stage.queue.admit(count)
    began = time.perf_counter()
    for _ in range(count):
        one_claim(stage, "laned")
    return {"step of a lane": (1000 * (time.perf_counter() - began) / count, "ms")}


def chores(stage: Stage, crowded: bool) -> Measured:
    """What maintenance and operators ask again and again; and, in a crowded table, which statements walk over all of it.

    `page` is meant to walk from the newest row, and stops after twenty.
    """
    queue = stage.queue
    asked: dict[str, Callable[[], object]] = {
        "admit": queue.admit, "next_due": queue.next_due, "heartbeat": lambda: queue.heartbeat([TAG]),
        "reclaim_expired": lambda: queue.reclaim_expired(30), "release": lambda: queue.release([TAG], "none", False),
        "held": lambda: queue.held([TAG]), "fold_counts": queue.fold_counts, "counts": queue.counts,
        "why": lambda: queue.why(1), "page": queue.page,
    }
    figures: Measured = {}
    for name, ask in asked.items():
        statements = statements_of(stage, ask)
        figures[name] = statistics.median(milliseconds_of(ask) for _ in range(15)), "ms"
        if crowded and name != "page" and (scans := sum(walks_over_the_table(stage, *each) for each in statements)):
            figures[f"{name}: plans without an index"] = scans, "plans"
    return figures


def milliseconds_of(ask: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    ask()
    return 1000 * (time.perf_counter() - began)


def statements_of(stage: Stage, ask: Callable[[], object]) -> list[tuple[str, Any]]:
    """Every statement on the queue's table that this sends, with its parameters."""
    seen: list[tuple[str, Any]] = []

    def note(connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if "indexing_jobs" in statement and not many:
            seen.append((statement, parameters))

    event.listen(stage.queue.engine, "before_cursor_execute", note)
    try:
        ask()
    finally:
        event.remove(stage.queue.engine, "before_cursor_execute", note)
    return seen


def walks_over_the_table(stage: Stage, statement: str, parameters: Any) -> bool:
    """Whether the database's plan for it has no index to go by."""
    sqlite = stage.queue.engine.dialect.name == "sqlite"
    with stage.queue.engine.connect() as connection:
        explain = "EXPLAIN QUERY PLAN" if sqlite else "EXPLAIN"
        rows = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()
    plan = "\n".join(str(row[-1]) for row in rows)
    if not sqlite:
        return "Seq Scan on indexing_jobs" in plan
    return any(step.startswith("SCAN indexing_jobs") and "INDEX" not in step for step in plan.splitlines())


if __name__ == "__main__":
    sys.exit(main())
