"""Every kill point: `python -m tests.kill_points --backend sqlite|postgres` kills before and after each statement.

On Postgres it kills also while the server has what commits, on SQLite at each write and each sync that the system is asked for.
Exits with 1 when a promise was broken, or a statement or a call escaped the count; the folder of each such trial is left. Points
that only the run that counted came to are named, and fail nothing unless they are more than one of twenty.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import sys
import tempfile
import time
from pathlib import Path

from backends import head

from .campaign import Campaign, Report
from .databases import Databases, Server
from .trial import PATHS

MOST_UNREACHED = 0.05
"""Of all points of a path: how many may be in the run that counted and in no other."""


def main() -> int:
    """Kill, mend, check, report."""
    asked = _arguments()
    _warm_up()
    folder = Path(tempfile.mkdtemp(prefix="jobqueue-kill-points-", dir="/tmp"))
    databases = Databases(folder) if asked.backend == "sqlite" else Server(folder)
    if asked.backend == "postgres":
        folder.chmod(0o755)
    try:
        reports = [
            report
            for index, name in enumerate(PATHS) if asked.path in (name, "all")
            for report in _campaign(databases, name, index, asked)
        ]
    finally:
        databases.close()
    if not any(report.failures for report in reports):
        shutil.rmtree(folder)
    return 1 if any(report.failures for report in reports) else 0


def _warm_up() -> None:
    """Import here once what each forked process would import for itself."""
    head()
    gc.collect()
    gc.freeze()


def _campaign(databases: Databases, path: str, index: int, asked: argparse.Namespace) -> list[Report]:
    campaign = Campaign(databases, path, asked.jobs)
    reports = []
    for kind, points in campaign.kinds():
        began = time.monotonic()
        chosen = [(number, point) for number, point in enumerate(points) if number % asked.every == index % asked.every]
        if asked.only is not None:
            chosen = [(asked.only, points[asked.only])] if asked.only < len(points) else []
        report = campaign.kill_at(kind, chosen)
        reports.append(report)
        if len(report.unreached) > len(points) * MOST_UNREACHED:
            report.failures.append("  too many points were in one run only: what was killed is not what was counted")
        print(
            f"{asked.backend:9} {path:12} {kind:12} points {len(points):4}, tried {len(chosen):4}, kills {report.kills:4}, "
            f"not reached {len(report.unreached):3}, violations {len(report.failures):3}, {time.monotonic() - began:6.1f} s",
            flush=True,
        )
        for line in report.failures + report.unreached:
            print(line, flush=True)
    return reports


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.kill_points", description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--path", choices=(*PATHS, "all"), default="all")
    parser.add_argument("--only", type=int, help="the number of one point of the path")
    parser.add_argument("--every", type=int, default=1, help="only each so manieth point, beginning elsewhere in each path")
    parser.add_argument("--jobs", type=int, default=3, help="trials at once")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
