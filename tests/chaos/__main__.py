"""A soak: `python -m tests.chaos --minutes M --seed S --backend sqlite|postgres` breaks a world for M minutes, then checks it.

The seed decides the faults, their times, whom they hit and what clients ask for; what processes do in between is theirs.
Exits with 1 when a promise was broken, and leaves the folder with all logs and histories then.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

from .checker import Evidence, check
from .faults import KILLS, plan
from .recovery import recoveries
from .soak import soak
from .world import Database, File, Server, World


def main() -> int:
    """Soak, check, report."""
    asked = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="jobqueue-chaos-", dir="/tmp"))
    database: Database = File(folder) if asked.backend == "sqlite" else Server()
    world = World(folder, database, Random(asked.seed))
    try:
        done = soak(world, plan(asked.seed, 60 * asked.minutes, asked.every, asked.backend == "postgres"))
        evidence = world.evidence()
    finally:
        world.close()
    violations = check(evidence)
    _report(asked, done, evidence)
    for violation in violations:
        print(violation)
    print(f"{len(violations)} violations" + (f"; all logs and histories are in {folder}" if violations else ""))
    if not violations:
        shutil.rmtree(folder)
    return 1 if violations else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--backend", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--every", type=float, default=2.5, help="seconds between two faults, about")
    return parser.parse_args()


def _report(asked: argparse.Namespace, done: Counter[str], evidence: Evidence) -> None:
    kills, outages = sum(done[each] for each in KILLS), done["database crashes"] + done["database restarts"]
    print(f"{asked.backend}, seed {asked.seed}, {asked.minutes:g} minutes: {kills} kills, {outages} database outages")
    print("  faults: " + ", ".join(f"{what} {times}" for what, times in sorted(done.items())))
    runs = sum(event.op == "run" and event.what == "started" for event in evidence.history)
    statuses = Counter(row.status for row in evidence.rows)
    print(f"  jobs: {len(evidence.rows)} {dict(statuses)}, runs: {runs}, attempts: "
          f"{dict(Counter(attempt.outcome for attempt in evidence.attempts))}, rows of handlers: {len(evidence.effects)}")
    for outcome, seconds in recoveries(evidence).items():
        print(f"  {outcome}: from the last sign of life until it was taken back: {seconds}")


if __name__ == "__main__":
    sys.exit(main())
