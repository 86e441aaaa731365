"""Taking over a legacy table of jobs: how long it takes, and how long others wait for the table meanwhile."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine, text

from backends import Queue, check, migrate, open_engine

from . import report
from .stage import Trouble, fresh_database, fresh_folder

TABLE = """
CREATE TABLE indexing_jobs (
    id {id}, program_id INTEGER NOT NULL, user_id INTEGER NOT NULL, job_type VARCHAR(50) NOT NULL, folder_id VARCHAR(255),
    status VARCHAR(20) NOT NULL, created_at {time}, started_at {time}, completed_at {time},
    total_files INTEGER, processed_files INTEGER, successful_files INTEGER, failed_files INTEGER, error_message VARCHAR(500),
    note VARCHAR(100)
)"""
IDS = {"sqlite": "INTEGER PRIMARY KEY", "postgresql": "SERIAL PRIMARY KEY"}
STATUSES = (
    "CASE n % 100 WHEN 0 THEN 'running' WHEN 1 THEN 'In Progress' WHEN 2 THEN 'pending' WHEN 3 THEN 'error' ELSE '{done}' END"
)
SERIES = {
    "sqlite": "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {rows})",
    "postgresql": "WITH series AS (SELECT generate_series(1, {rows}) AS n)",
}
TIMES = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S', '2024-01-01', n || ' seconds')",
    "postgresql": "timestamp '2024-01-01' + n * interval '1 second'",
}
FILL = """
INSERT INTO indexing_jobs (program_id, user_id, job_type, folder_id, status, created_at, started_at, completed_at, total_files,
    processed_files, successful_files, failed_files, note)
{series} SELECT n % 50, n % 20, 'full_scan', 'folder ' || n, {status}, {time}, {time}, {time}, n % 1000, n % 1000, n % 1000, 0,
    'of the application ' || n FROM series"""
BATCH = 500_000


def main() -> int:
    """Measure as the command line says."""
    parser = report.options(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="jobs in the legacy table")
    parser.add_argument("--odd", action="store_true", help="every completed job says `done`, so that every row has to be changed")
    return report.run(parser, measure)


def measure(server: str, arguments: argparse.Namespace) -> None:
    """Make the table, migrate it while others use it, and say what that cost."""
    with fresh_folder(arguments.folder) as folder, fresh_database(server, folder) as url:
        engine = open_engine(url, journal="unchanged", statement_timeout=3600, pool_size=4)
        make(engine, arguments.rows, "done" if arguments.odd else "completed")
        if engine.dialect.name == "sqlite":
            report.line("migration", timed(lambda: migrate(engine)), "s", arguments.rows)
        else:
            beside_traffic(engine, url, arguments.rows)
        finish(engine, arguments.rows)
        engine.dispose()


def make(engine: Engine, rows: int, done: str) -> None:
    """The table of an application, with jobs of every status and an index of its own."""
    name = engine.dialect.name
    time_type = "DATETIME" if name == "sqlite" else "TIMESTAMP"
    fill = FILL.format(series=SERIES[name], status=STATUSES.format(done=done), time=TIMES[name])
    with engine.begin() as connection:
        connection.execute(text(TABLE.format(id=IDS[name], time=time_type)))
    for first in range(0, rows, BATCH):
        with engine.begin() as connection:
            connection.execute(text(fill.format(rows=min(BATCH, rows - first))))
    with engine.begin() as connection:
        connection.execute(text("CREATE INDEX ix_jobs_created ON indexing_jobs (created_at)"))
    if name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE indexing_jobs"))
            connection.execute(text("CHECKPOINT"))


def beside_traffic(engine: Engine, url: str, rows: int) -> None:
    """Migrate while one reads by id and one inserts; each waits, as a rule, for less than a millisecond."""
    over = threading.Event()
    readings, insertions = Waits(url, READ, over), Waits(url, INSERT, over)
    try:
        report.line("migration", timed(lambda: migrate(engine, say=Progress())), "s", rows)
    finally:
        over.set()
        readings.join()
        insertions.join()
    report.lines("a reader's wait", readings.milliseconds, "ms")
    report.lines("a writer's wait", insertions.milliseconds, "ms")


READ = "SELECT status, error_message FROM indexing_jobs WHERE id = 4711"
INSERT = "INSERT INTO indexing_jobs (program_id, user_id, job_type, status) VALUES (1, 1, 'full_scan', 'pending')"


class Waits(threading.Thread):
    """Somebody who runs one statement again and again, as the application did, and notes how long each took."""

    def __init__(self, url: str, statement: str, over: threading.Event) -> None:
        super().__init__()
        self.milliseconds: list[float] = []
        # Prepared statements would not survive the change of their columns' types.
        self._engine, self._statement, self._over = open_engine(url, pooler="transaction"), text(statement), over
        self.start()

    def run(self) -> None:
        """Until it is over."""
        while not self._over.wait(0.002):
            began = time.monotonic()
            with self._engine.begin() as connection:
                connection.execute(self._statement)
            self.milliseconds.append(1000 * (time.monotonic() - began))
        self._engine.dispose()


class Progress:
    """Says when each step began."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, step: str) -> None:
        print(f"#  {time.monotonic() - self._began:7.1f} s  {step}", flush=True)


def finish(engine: Engine, rows: int) -> None:
    """See that all rows are there and counted."""
    check(engine)
    counts = Queue(engine).counts()
    found = counts.pending + counts.completed + counts.failed + counts.cancelled
    with engine.connect().execution_options(jobqueue_read=True) as connection:
        there = connection.execute(text("SELECT count(*) FROM indexing_jobs")).scalar_one()
    if found != there or there < rows or counts.running:
        raise Trouble(f"{rows} rows were made, {there} are there, {found} are counted, {counts.running} run")
    report.line("database", _size(engine) / 2**20, "MiB", there)


def _size(engine: Engine) -> int:
    if engine.dialect.name == "sqlite":
        return Path(str(engine.url.database)).stat().st_size
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def timed(work: Callable[[], object]) -> float:
    """How many seconds it took."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


if __name__ == "__main__":
    raise SystemExit(main())
