"""The memory and the idle processor time of each process of a supervisor's tree."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import report
from .stage import Stage, Supervisor


def main() -> int:
    """Measure as the command line says."""
    parser = report.options(__doc__)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=1_000, help="no-op jobs run between the two looks at memory")
    parser.add_argument("--seconds", type=float, default=30, help="how long the idle tree is watched")
    return report.run(parser, measure)


def measure(server: str, arguments: argparse.Namespace) -> None:
    """One supervisor: memory when fresh, its idle processor time, memory after work."""
    with Stage(server, arguments.folder) as stage:
        supervisor = stage.supervisor(arguments.workers)
        supervisor.start()
        time.sleep(3)
        print_memory(supervisor, "idle")
        print_idle_time(supervisor, arguments.seconds)
        stage.enqueue(arguments.jobs)
        stage.all_done(arguments.jobs, within=600)
        time.sleep(1)
        print_memory(supervisor, f"after {arguments.jobs} jobs")


def processes(supervisor: Supervisor) -> dict[str, int]:
    """Every process of the tree by name."""
    return {"supervisor": supervisor.pid, "maintenance": supervisor.maintenance,
            **{f"worker {name}": pid for name, pid in supervisor.workers.items()}}


def print_memory(supervisor: Supervisor, when: str) -> None:
    """Proportional set size: what is shared is counted in parts, so that the sum is what the tree really takes."""
    sizes = {name: proportional_size(pid) for name, pid in processes(supervisor).items()}
    workers = [size for name, size in sizes.items() if name.startswith("worker")]
    report.line(f"PSS of a worker, {when}", sum(workers) / len(workers), "MB", len(workers), report.spread(workers))
    for name in ("supervisor", "maintenance"):
        report.line(f"PSS of the {name}, {when}", sizes[name], "MB", 1)
    report.line(f"PSS of the whole tree, {when}", sum(sizes.values()), "MB", len(sizes))


def proportional_size(pid: int) -> float:
    """Megabytes (of a million bytes)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def print_idle_time(supervisor: Supervisor, seconds: float) -> None:
    """Processor time of each process while nothing happens."""
    named = processes(supervisor)
    began = time.monotonic()
    before = {name: processor_seconds(pid) for name, pid in named.items()}
    time.sleep(seconds)
    passed = time.monotonic() - began
    share = {name: 100 * (processor_seconds(pid) - before[name]) / passed for name, pid in named.items()}
    for name, percent in share.items():
        report.line(f"idle processor time of {name}", percent, "% core", f"{seconds:g}s")
    report.line("idle processor time of the whole tree", sum(share.values()), "% core", f"{seconds:g}s")


def processor_seconds(pid: int) -> float:
    """Time on a processor so far, of all threads, to the nanosecond."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


if __name__ == "__main__":
    sys.exit(main())
