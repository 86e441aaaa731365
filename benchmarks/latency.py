"""How soon an idle worker starts a job that has just been enqueued."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from random import Random

from sqlalchemy import text

from . import report
from .stage import PARAMETERS, Stage, wait_for

RAW = text(
    "INSERT INTO indexing_jobs (program_id, user_id, job_type, folder_id, priority, job_parameters)"
    " VALUES (1, 1, 'noop', 'folder', 0, :parameters) RETURNING id"
)
WARM_UP = 5


def main() -> int:
    """Measure as the command line says."""
    parser = report.options(__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between two jobs, give or take a quarter")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--laned", action="store_true", help="also jobs of a type with a lane, which pass through admission")
    return report.run(parser, measure)


def measure(server: str, arguments: argparse.Namespace) -> None:
    """One supervisor, and each way to enqueue in turn."""
    with Stage(server, arguments.folder) as stage:
        ways = {"Queue.enqueue": lambda: stage.enqueue(1)[0], "raw INSERT": lambda: raw_insert(stage)}
        if arguments.laned:
            ways["Queue.enqueue with a lane"] = lambda: stage.enqueue(1, "laned")[0]
        stage.supervisor(arguments.workers).start()
        time.sleep(2)
        for way, enqueue in ways.items():
            from_return, from_call = latencies(stage, enqueue, arguments)
            report.lines(f"{way} returned until start", from_return, "ms")
            report.line(f"{way} called until start, median", statistics.median(from_call), "ms", len(from_call))


def raw_insert(stage: Stage) -> int:
    """What any program may do; returns the id."""
    with stage.queue.engine.begin() as connection:
        return int(connection.execute(RAW, {"parameters": json.dumps(PARAMETERS)}).scalar_one())


def latencies(stage: Stage, enqueue: Callable[[], int], arguments: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Milliseconds from the return of the enqueue, and from its call, until the handler starts, of each job."""
    random = Random(1)
    sent: dict[int, tuple[int, int]] = {}
    for number in range(WARM_UP + arguments.jobs):
        time.sleep(arguments.pause * random.uniform(0.75, 1.25))
        called = time.monotonic_ns()
        job_id = enqueue()
        if number >= WARM_UP:
            sent[job_id] = called, time.monotonic_ns()
    started = wait_for(lambda: started_of(stage, sent), within=30, every=0.2, what="the last job to start")
    return (
        [(started[each] - returned) / 1e6 for each, (_, returned) in sent.items()],
        [(started[each] - called) / 1e6 for each, (called, _) in sent.items()],
    )


def started_of(stage: Stage, sent: dict[int, tuple[int, int]]) -> dict[int, int]:
    """When each of these jobs started; empty until all have."""
    started = {start.job_id: start.at for start in stage.starts() if start.job_id in sent}
    return started if len(started) == len(sent) else {}


if __name__ == "__main__":
    sys.exit(main())
