"""How long a job lies idle after the process that ran it was killed, stopped, or lost its supervisor."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

import psutil

from . import report
from .handlers import Start
from .stage import Stage, Supervisor, wait_for


def main() -> int:
    """Measure as the command line says."""
    parser = report.options(__doc__)
    parser.add_argument("--kills", type=int, default=50, help="workers killed while they run a 30 s job")
    parser.add_argument("--stops", type=int, default=3, help="workers stopped (SIGSTOP) meanwhile")
    parser.add_argument("--supervisors", type=int, default=3, help="supervisors killed, another one beside")
    parser.add_argument("--hosts", type=int, default=1, help="whole trees killed at once, as if the host were lost")
    return report.run(parser, measure)


def measure(server: str, arguments: argparse.Namespace) -> None:
    """Each kind of loss in turn."""
    if arguments.kills:
        report.lines("worker killed, until its job starts again", lost_workers(server, arguments.kills, "KILL", arguments), "s")
    if arguments.stops:
        report.lines("worker stopped, until its job starts again", lost_workers(server, arguments.stops, "STOP", arguments), "s")
    if arguments.supervisors:
        lost = [lost_supervisor(server, False, arguments) for _ in range(arguments.supervisors)]
        report.lines("supervisor killed, until another runs the job", lost, "s")
    if arguments.hosts:
        lost = [lost_supervisor(server, True, arguments) for _ in range(arguments.hosts)]
        report.lines("whole tree killed, until another runs the job", lost, "s")


def lost_workers(server: str, count: int, how: str, arguments: argparse.Namespace) -> list[float]:
    """One supervisor with two workers, of which the one that runs a new job is lost, again and again."""
    seconds = []
    with Stage(server, arguments.folder) as stage:
        supervisor = stage.supervisor(workers=2)
        supervisor.start()
        for _ in range(count):
            wait_for(lambda: both_idle(supervisor), within=30, what="two idle workers")
            first = running_long_job(stage)
            at = time.monotonic_ns()
            os.kill(first.pid, signal.Signals[f"SIG{how}"])
            seconds.append(seconds_until_elsewhere(stage, first, at))
            supervisor.remember()
    return seconds


def both_idle(supervisor: Supervisor) -> bool:
    """Both workers live and rest."""
    return [worker["phase"] for worker in supervisor.status["workers"]] == ["idle", "idle"]


def running_long_job(stage: Stage) -> Start:
    """A new job in its thirty seconds."""
    (job_id,) = stage.enqueue(1, "long")
    first = stage.start_of(job_id)
    time.sleep(0.3)
    return first


def seconds_until_elsewhere(stage: Stage, first: Start, at: int) -> float:
    """Wait until the job starts again, in another process."""
    second = stage.start_of(first.job_id, first.lease + 1, within=90)
    assert second.pid != first.pid
    wait_for(lambda: stage.job(first.job_id).status == "completed", within=10, what="the second attempt's end")
    return (second.at - at) / 1e9


def lost_supervisor(server: str, whole_tree: bool, arguments: argparse.Namespace) -> float:
    """The supervisor of the running job is killed, or all of its tree at once; a second one works beside it."""
    with Stage(server, arguments.folder) as stage:
        doomed, other = stage.supervisor(workers=1), stage.supervisor(workers=1)
        doomed.start()
        first = running_long_job(stage)
        other.start()
        doomed.remember()
        time.sleep(1)
        victims = [psutil.Process(doomed.pid)]
        victims += victims[0].children(recursive=True) if whole_tree else []
        for victim in victims[1:]:
            victim.suspend()  # nobody may take notice while the others are killed
        at = time.monotonic_ns()
        for victim in victims:
            victim.kill()
        return seconds_until_elsewhere(stage, first, at)


if __name__ == "__main__":
    sys.exit(main())
