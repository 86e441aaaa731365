"""Some seconds of a soak, as every run of the suite can afford them; the long ones are `python -m tests.chaos`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.support import eventually
from workers import boot_time

from .checker import Attempt, Evidence, Row, check
from .faults import ON_POSTGRES, Deed, Fault, do, plan
from .history import Event
from .recovery import too_late
from .report import too_little
from .soak import soak
from .witness import Change
from .world import File, Server, World


@pytest.fixture
def world(backend: str, tmp_path: Path) -> Iterator[World]:
    """A world on a database of its own."""
    world = World(tmp_path, File(tmp_path) if backend == "sqlite" else Server(), Random(1))
    yield world
    world.close()


def test_no_promise_is_broken_while_everything_is_killed_stopped_and_taken_away(world: World, backend: str) -> None:
    done = soak(world, plan(seed=7, seconds=6, every=0.45, on_postgres=backend == "postgresql"), at_least=20)
    assert len(done) >= 8, done
    evidence = world.evidence()
    assert sum(row.status == "completed" for row in evidence.rows) >= 20
    assert check(evidence) + world.broken() == []
    assert (world.claims_in_near_looks > 0) == (backend == "postgresql")


def test_a_plan_is_the_same_for_the_same_seed_and_holds_every_fault() -> None:
    once, again = (list(plan(3, 1800, 2.5, on_postgres=True)) for _ in range(2))
    assert once == again
    assert once != list(plan(4, 1800, 2.5, on_postgres=True))
    assert {fault.what for fault in once} == set(ON_POSTGRES)


def test_a_soak_in_which_too_little_happened_shows_nothing_and_says_what_was_missing() -> None:
    over = Evidence([], [], [], [Row(number, "completed", 1, None) for number in range(1800)], [])
    times = {"kill worker": 200, "kill client": 100, "database crashes": 15, "database restarts": 5, "hang up": 9}
    enough = [Deed(what, 0.0, 0.0) for what, number in times.items() for _ in range(number)]
    assert too_little(30, enough, over) == []
    [said] = too_little(30, enough[1:], over)
    assert said == "too little happened to show anything: 299 kills, at least 300 are asked for"
    assert len(too_little(30, [], Evidence([], [], [], [Row(1, "failed", 1, None)], []))) == 3


def test_an_hour_planned_as_usual_holds_as_much_as_is_asked_for() -> None:
    for on_postgres in (False, True):
        for seed in range(5):
            done = [Deed(fault.what, fault.at, fault.at) for fault in plan(seed, 3600, 2.5, on_postgres)]
            assert [said for said in too_little(60, done, Evidence([], [], [], [], [])) if "jobs" not in said] == []


def test_what_is_taken_back_too_late_is_told_unless_the_database_was_away_for_as_long() -> None:
    since_boot = time.time() - boot_time()
    signs = [Event(1.0, "worker", "run", what, 7, 1) for what in ("started", "alive")]
    taken_back = Change(7, "running", "pending", 1, at=since_boot + 12.0)
    evidence = Evidence(signs, [taken_back], [], [Row(7, "pending", 1, None)], [Attempt(7, 1, "crashed", "killed")])
    [late] = too_late(evidence, [])
    assert str(late).startswith("G9 broken: job 7 under lease 1 (crashed) was taken back 11.0")
    assert list(too_late(evidence, [Deed("database crashes", 3.0, 6.0)])) == []


def test_a_supervisor_that_drains_after_the_last_fault_is_started_again(world: World) -> None:
    drained, other = world.start().scenes
    former = drained.process
    assert do(world, Fault(0.0, "drain", 0.0, 0.0))
    world.mend_for_good()
    assert drained.process is not former
    for scene in (drained, other):
        eventually(lambda scene=scene: scene.status["state"] == "running", within=20)  # type: ignore[misc]
    assert world.broken() == []


def test_a_supervisor_that_ends_by_itself_is_told_and_one_that_was_killed_is_not(world: World) -> None:
    world.start()
    for scene in world.scenes:
        assert scene.process is not None
        scene.process.kill()
        scene.process.wait()
    world.told_to_end.add(world.scenes[0].process.pid)  # type: ignore[union-attr]
    world.mend()
    [ended] = world.broken()
    assert str(ended).startswith("G13 broken: supervisor two ended by itself with -9")
