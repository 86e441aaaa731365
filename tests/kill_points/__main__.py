"""Every kill point: `python -m tests.kill_points --backend sqlite|postgres` kills at each statement, before, during and after it.

On SQLite it kills also at each write and each sync that the system is asked for. Exits with 1 when a promise was broken, a
statement escaped the count, or a point was not reached; the folder of each such trial is left.
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
        print(
            f"{asked.backend:9} {path:12} {kind:12} points {len(points):4}, kills {report.kills:4}, "
            f"violations {len(report.failures):3}, {time.monotonic() - began:6.1f} s", flush=True,
        )
        for failure in report.failures:
            print(failure, flush=True)
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
