"""A soak: `python -m tests.chaos --minutes M --seed S --backend sqlite|postgres` breaks a world for M minutes, then checks it.

The seed decides the faults, their times, whom they hit and what clients ask for; what processes do in between is theirs.
Exits with 1 when a promise was broken, and leaves the folder with all logs and histories then; also when too little happened
for so many minutes to show anything.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from random import Random

from .checker import check
from .faults import plan
from .recovery import too_late
from .report import told, too_little
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
        evidence, near = world.evidence(), world.claims_in_near_looks
    finally:
        world.close()
    violations = [*check(evidence), *world.broken(), *too_late(evidence, done)]
    missing = too_little(asked.minutes, done, evidence)
    print(f"{asked.backend}, seed {asked.seed}, {asked.minutes:g} minutes: {told(done, evidence)}")
    print(f"  claims in near looks: {near}")
    for wrong in (*violations, *missing):
        print(wrong)
    print(f"{len(violations)} violations" + (f"; all logs and histories are in {folder}" if violations else ""))
    if not violations:
        shutil.rmtree(folder)
    return 1 if violations or missing else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--backend", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--every", type=float, default=2.5, help="seconds between two faults, about")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
