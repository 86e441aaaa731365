"""A soak: `python -m tests.chaos --minutes M --seed S --backend sqlite|postgres` breaks a world for M minutes, then checks it.

The seed decides the faults, their times, whom they hit and what clients ask for; what processes do in between is theirs.
Exits with 1 when a promise was broken, and leaves the folder with all logs and histories then.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from .checker import Evidence, check
from .faults import KILLS, Fault, do, plan
from .recovery import recoveries
from .world import Database, File, Server, World

CLIENTS = ("ann", "bob")


def main() -> int:
    """Soak, check, report."""
    asked = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="jobqueue-chaos-", dir="/tmp"))
    database: Database = File(folder) if asked.backend == "sqlite" else Server()
    world = World(folder, database, Random(asked.seed))
    try:
        done = _soak(world, asked)
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


def _soak(world: World, asked: argparse.Namespace) -> Counter[str]:
    """Do the plan; returns how often each fault was done."""
    world.start()
    for name in CLIENTS:
        world.add_client(name)
    done: Counter[str] = Counter()
    began = time.monotonic()
    for fault in plan(asked.seed, 60 * asked.minutes, asked.every, asked.backend == "postgres"):
        _wait_until(began + fault.at)
        if do(world, fault):
            done[fault.what] += 1
        _restore(world, fault)
    world.mend()
    world.rest()
    world.drain()
    return done


def _restore(world: World, fault: Fault) -> None:
    """A service manager starts again what ended, and so do the users of clients."""
    world.mend()
    if fault.what == "kill client":
        world.add_client(CLIENTS[int(fault.place * len(CLIENTS))])


def _wait_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


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
