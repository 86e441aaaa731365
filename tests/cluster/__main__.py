"""`python -m tests.cluster --kind replica|patroni|pgbouncer --sync on|off --rounds N --seed S`: lose primaries, then check.

`--kind pgbouncer` has faults done to PgBouncer and to the one server behind it; with `--nodes 2` it loses primaries behind it.
Exits with 1 when a promise was broken, and leaves the folder with all logs and histories then, those of the servers and what
they waited for included. With `--sync off`, what was acknowledged after the last moment known to be replicated may be missing:
it is counted.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from tests.chaos.checker import Evidence, Violation, check
from tests.chaos.faults import DEEDS, ON_POSTGRES, Fault
from tests.chaos.forgetting import forgive, missing
from tests.chaos.report import how_often
from tests.chaos.soak import CLIENTS, soak
from tests.chaos.world import World
from tests.faults.load import RECOVERY

from .autopsy import keep
from .clusters import Cluster, Pooled
from .failovers import WAYS, Failover, Marks, fail_over

BETWEEN = 4.0
"""Seconds of load between two faults, about."""

OF_POOLER = {"pooler is killed": 12, "pooler restarts": 8, "database crashes": 12, "database restarts": 12}
"""The shares of the faults that PgBouncer has a part in, its server's included."""


def main() -> int:
    """Break, check, report."""
    asked = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="jobqueue-cluster-", dir="/tmp"))
    print(f"all logs and histories: {folder}", flush=True)
    behind_a_pooler = asked.kind == "pgbouncer" and asked.nodes != 2
    violations, counts = _with_pooler(asked, folder) if behind_a_pooler else _with_replicas(asked, folder)
    for violation in violations:
        print(violation)
    print(f"{asked.kind}, {asked.nodes or 'usual'} nodes, synchronous {asked.sync}, seed {asked.seed}: {counts},"
          f" {len(violations)} violations")
    if not violations:
        shutil.rmtree(folder)
    return 1 if violations else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=("replica", "patroni", "pgbouncer"), default="replica")
    parser.add_argument("--sync", choices=("on", "off"), default="on")
    parser.add_argument("--nodes", type=int, choices=(1, 2, 3), help="servers of Postgres, as in deploy/cluster")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="one way to lose the primary, or one fault behind PgBouncer")
    return parser.parse_args()


def _with_replicas(asked: argparse.Namespace, folder: Path) -> tuple[list[Violation], str]:
    random = Random(asked.seed)
    cluster = Cluster(asked.kind, asked.sync == "on", random, asked.nodes)
    world = World(folder, cluster, random)
    marks = Marks(cluster.url, cluster.pooler)
    try:
        failovers = _lose_primaries(world, cluster, asked, random)
        marks.close()
        world.mend_for_good()
        world.everybody_claims()
        world.rest()
        world.drain()
        evidence = world.evidence()
    finally:
        keep(cluster, folder / "servers")
        world.close()
    known, losses = forgive(evidence, [each.window for each in failovers] if asked.sync == "off" else [])
    for how in sorted({each.how for each in failovers}):
        _say(f"  {how}: first claim on the new primary", [each.recovery for each in failovers if each.how == how])
    _say("  all: first claim on the new primary", [each.recovery for each in failovers])
    _say("  all: since it took writes", [each.afterwards for each in failovers])
    if asked.sync == "off":
        print(f"  {losses}")
    late = [
        Violation("G9", f"{each.how}: nobody claimed for {each.afterwards:.1f} s on the new primary")
        for each in failovers if each.afterwards > RECOVERY
    ]
    return [*check(known), *world.broken(), *late], f"{len(failovers)} fail-overs, {_counts(evidence, world.drained_in)}"


def _counts(evidence: Evidence, drained_in: float) -> str:
    acknowledged = sum(event.op == "enqueue" and event.what == "ok" for event in evidence.history)
    runs = sum(event.op == "run" and event.what == "started" for event in evidence.history)
    states = ", ".join(f"{number} {status}" for status, number in sorted(Counter(row.status for row in evidence.rows).items()))
    return (f"{acknowledged} acknowledged jobs, {len(missing(evidence))} of them lost, {runs} runs, at the end {states},"
            f" drained {drained_in:.1f} s after the load")


def _lose_primaries(world: World, cluster: Cluster, asked: argparse.Namespace, random: Random) -> list[Failover]:
    world.start()
    for name in CLIENTS:
        world.add_client(name)
    failovers: list[Failover] = []
    ways: list[str] = []
    for _ in range(asked.rounds):
        time.sleep(random.uniform(0.5, 1.5) * BETWEEN)
        ways = ways or random.sample(list(WAYS[asked.kind]), len(WAYS[asked.kind]))
        failovers.append(fail_over(world, cluster, asked.only or ways.pop()))
        done = failovers[-1]
        print(f"  {done.how}: claimed again after {done.recovery:.1f} s; the replica was known to be"
              f" {done.window.last - done.window.since:.2f} s behind, or less", flush=True)
    time.sleep(BETWEEN)
    return failovers


def _say(what: str, seconds: list[float]) -> None:
    print(f"{what}: n {len(seconds)}, median {statistics.median(seconds):.1f} s, max {max(seconds):.1f} s")


def _with_pooler(asked: argparse.Namespace, folder: Path) -> tuple[list[Violation], str]:
    random = Random(asked.seed)
    database = Pooled(random)
    DEEDS["pooler is killed"] = lambda world, fault: database.kill_pooler(fault.lasts) or True
    DEEDS["pooler restarts"] = lambda world, fault: database.restart_pooler() or True
    world = World(folder, database, random)
    try:
        done = soak(world, _plan(asked, random))
        evidence = world.evidence()
    finally:
        keep(database.cluster, folder / "servers")
        world.close()
    print(f"  faults: {how_often(done)}")
    return [*check(evidence), *world.broken()], f"{len(done)} faults, {_counts(evidence, world.drained_in)}"


def _plan(asked: argparse.Namespace, random: Random) -> list[Fault]:
    shares, at, faults = {asked.only: 1} if asked.only else ON_POSTGRES | OF_POOLER, 0.0, []
    for _ in range(asked.rounds):
        at += random.uniform(0.5, 1.5) * BETWEEN
        [what] = random.choices(list(shares), list(shares.values()))
        faults.append(Fault(at, what, random.random(), random.choice([0.3, 1.0, 2.0, 4.0])))
    return faults


if __name__ == "__main__":
    sys.exit(main())
