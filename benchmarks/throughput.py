"""Jobs per second of a handler that does nothing, and how fast jobs are enqueued."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import func, select

from backends import indexing_jobs

from . import report
from .stage import Stage, wait_for

job = indexing_jobs.c
NOT_LONGER_THAN = 3600.0


class Run(NamedTuple):
    """What one run came to; rates per second, sizes in megabytes."""

    rate: float
    bulk_rate: float
    ran_twice: int
    largest_log: float


def main() -> int:
    """Measure as the command line says."""
    parser = report.options(__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, help="no-op jobs in each run")
    parser.add_argument("--single", type=int, default=2_000, help="jobs enqueued in a transaction of their own")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the median counts")
    return report.run(parser, measure)


def measure(server: str, arguments: argparse.Namespace) -> None:
    """Everything about one database."""
    bulk: list[float] = []
    for workers in arguments.workers:
        runs = [one_run(server, workers, arguments) for _ in range(arguments.repeat)]
        bulk += [run.bulk_rate for run in runs]
        rates, n = [run.rate for run in runs], f"{arguments.repeat}x{arguments.jobs}"
        report.line(f"no-op jobs, workers: {workers}", statistics.median(rates), "jobs/s", n, report.spread(rates))
        report.line("  ran twice", sum(run.ran_twice for run in runs), "jobs", n)
        if server == "sqlite":
            report.line("  largest write-ahead log", max(run.largest_log for run in runs), "MB", arguments.repeat)
    n = f"{len(bulk)}x{arguments.jobs}"
    report.line("enqueue, 1000 in each transaction", statistics.median(bulk), "jobs/s", n, report.spread(bulk))
    singles = [single_rate(server, arguments) for _ in range(arguments.repeat)]
    n = f"{arguments.repeat}x{arguments.single}"
    report.line("enqueue, one in each transaction", statistics.median(singles), "jobs/s", n, report.spread(singles))


def one_run(server: str, workers: int, arguments: argparse.Namespace) -> Run:
    """All jobs are enqueued before the supervisor starts; first start of a job until the last is settled."""
    with Stage(server, arguments.folder) as stage:
        bulk_rate = arguments.jobs / timed(lambda: stage.enqueue(arguments.jobs))
        supervisor = stage.supervisor(workers)
        log = stage.folder / "jobqueue.db-wal"
        largest = 0

        def done() -> bool:
            nonlocal largest
            largest = max(largest, os.path.getsize(log) if log.exists() else 0)
            return stage.queue.counts().completed >= int(arguments.jobs)

        supervisor.start()
        wait_for(done, NOT_LONGER_THAN, 0.25, f"{arguments.jobs} completed jobs")
        seconds = exact_seconds(stage, arguments.jobs)
        starts = stage.starts()
        supervisor.stop()
        twice = len(starts) - len({start.job_id for start in starts})
        return Run(arguments.jobs / seconds, bulk_rate, twice, largest / 1e6)


def exact_seconds(stage: Stage, jobs: int) -> float:
    """From the first start to the last settle, as the table has it, once all jobs are completed there."""
    finished = select(func.count(), func.min(job.started_at), func.max(job.completed_at)).where(job.status == "completed")
    count, first, last = stage.queue.read(lambda connection: connection.execute(finished).one())
    assert count == jobs, f"the counters say {jobs}, the table {count}"
    return float((last - first).total_seconds())


def single_rate(server: str, arguments: argparse.Namespace) -> float:
    """Jobs enqueued per second, each committed before the next; the first, which connects, is not timed."""
    with Stage(server, arguments.folder) as stage:
        stage.enqueue(1)
        return float(arguments.single / timed(lambda: stage.enqueue(arguments.single, chunk=1)))


def timed(work: Callable[[], object]) -> float:
    """The seconds that the work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
