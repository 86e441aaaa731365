"""How fast status and the first page of a program's jobs are beside a long history and many that wait, and over HTTP."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import yaml
from sqlalchemy import text

from backends import checkpoint, recount

from . import report
from .growth import CLOCKS
from .stage import ROOT, Stage, wait_for

PROGRAMS = 10
SERIES = {
    "sqlite": "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < :rows)",
    "postgresql": "WITH series AS (SELECT generate_series(1, :rows) AS n)",
}
HISTORY = """
    INSERT INTO indexing_jobs (program_id, user_id, job_type, status, started_at, completed_at, lease, error_message)
    {series} SELECT 1 + n % {programs}, 1, 'noop',
        CASE WHEN n / {programs} % 100 < 95 THEN 'completed' WHEN n / {programs} % 100 < 98 THEN 'failed' ELSE 'cancelled' END,
        {now}, {now}, 1, CASE WHEN n / {programs} % 100 >= 95 THEN 'as the benchmark wants it' END
    FROM series
"""
PENDING = """
    INSERT INTO indexing_jobs (program_id, user_id, examined, job_type, lane, ready_at, waits_for, scheduled_at)
    {series} SELECT 1 + n % {programs}, 1, true, CASE WHEN n % 3 = 1 THEN 'laned' ELSE 'noop' END,
        CASE WHEN n % 3 = 1 THEN 'program:' || (1 + n % {programs}) END,
        CASE WHEN n % 3 = 0 THEN {now} END,
        CASE n % 3 WHEN 1 THEN 'lane' WHEN 2 THEN 'time' END,
        CASE WHEN n % 3 = 2 THEN {later} END
    FROM series
"""


def main() -> int:
    """Measure as the command line says."""
    parser = report.options(__doc__)
    parser.add_argument("--finished", type=int, default=1_000_000, help="jobs that are over")
    parser.add_argument("--pending", type=int, default=100_000, help="jobs that wait: half older, half newer than those")
    parser.add_argument("--calls", type=int, default=1_000, help="calls of each kind that are timed")
    parser.add_argument("--workers", type=int, nargs="+", default=[1], help="processes that serve HTTP; each number is measured")
    parser.add_argument("--analyze", action="store_true", help="let the planner look at the tables first")
    return report.run(parser, measure)


def measure(server: str, arguments: argparse.Namespace) -> None:
    """Fill one database, and time what people ask of it again and again."""
    with Stage(server, arguments.folder) as stage:
        began = time.perf_counter()
        fill(stage, arguments.finished, arguments.pending, arguments.analyze)
        n = f"{arguments.finished + arguments.pending}"
        report.line("filling the database", time.perf_counter() - began, "s", n)
        seen = stage.queue.counts()
        assert seen.pending == arguments.pending, f"{seen.pending} pending jobs counted, {arguments.pending} put in"
        programs = [1 + number % PROGRAMS for number in range(arguments.calls)]
        time_each("Queue.counts()", [stage.queue.counts for _ in programs])
        time_each("Queue.counts(program)", [partial(stage.queue.counts, program) for program in programs])
        time_each("Queue.page(program)", [partial(stage.queue.page, program) for program in programs])
        for workers in arguments.workers:
            with served(stage, workers) as ask:
                name = f" (--workers {workers})" if workers > 1 else ""
                time_each(f"GET /job-queue/status{name}", [partial(ask, "/job-queue/status") for _ in programs])
                lists = [partial(ask, f"/job-queue/jobs/{program}") for program in programs]
                time_each(f"GET /job-queue/jobs/{{program}}{name}", lists)


def time_each(what: str, calls: Sequence[Callable[[], object]]) -> None:
    """Print how long these calls take, one after the other."""
    report.lines(what, [milliseconds(call) for call in calls], "ms")


def milliseconds(ask: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    ask()
    return 1000 * (time.perf_counter() - began)


def fill(stage: Stage, finished: int, pending: int, analyze: bool) -> None:
    """What waits, then what is over, then what waits; the counters as maintenance leaves them."""
    engine = stage.queue.engine
    dialect = engine.dialect.name
    now, later = CLOCKS[dialect]
    for statement, rows in ((PENDING, pending // 2), (HISTORY, finished), (PENDING, pending - pending // 2)):
        if rows:
            with engine.begin() as connection:
                whole = statement.format(series=SERIES[dialect], programs=PROGRAMS, now=now, later=later)
                connection.execute(text(whole), {"rows": rows})
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM jobqueue_count_deltas"))
    recount(engine)
    while stage.queue.fold_counts():
        pass
    if analyze:
        with engine.begin() as connection:
            connection.execute(text("ANALYZE"))
    checkpoint(engine)


@contextlib.contextmanager
def served(stage: Stage, workers: int) -> Iterator[Callable[[str], None]]:
    """The HTTP API in processes of its own, without a processor; gives what asks it over one connection that stays open."""
    config, log = stage.folder / "api.yaml", stage.folder / "api.log"
    config.write_text(yaml.safe_dump({"database_url": stage.url, "api": {"auth": "none", "rate_limit": 1_000_000}}))
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "apps.api:make_api", "--port", str(port), "--workers", str(workers)]
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "LOG_LEVEL")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment | {"JOBQUEUE_CONFIG": str(config)}, stdout=output, stderr=output
        )
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        wait_for(lambda: answers(connection, process), 60, what=f"the API; see {log}")
        yield lambda path: get(connection, path)
        connection.close()
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(connection: http.client.HTTPConnection, process: subprocess.Popen[bytes]) -> bool:
    """Whether the API answers yet."""
    assert process.poll() is None, f"the API ended with {process.returncode}"
    try:
        get(connection, "/readyz")
    except OSError:
        connection.close()
        return False
    return True


def get(connection: http.client.HTTPConnection, path: str) -> None:
    """Ask once, and read the whole answer."""
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, f"{path} answered {answer.status}: {body[:300]!r}"


if __name__ == "__main__":
    sys.exit(main())
