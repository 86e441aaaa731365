"""Some seconds of a soak, as every run of the suite can afford them; the long ones are `python -m tests.chaos`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from .checker import Evidence, Row, check
from .faults import ON_POSTGRES, plan
from .report import too_little
from .soak import soak
from .world import File, Server, World


@pytest.fixture
def world(backend: str, tmp_path: Path) -> Iterator[World]:
    """A world on a database of its own."""
    world = World(tmp_path, File(tmp_path) if backend == "sqlite" else Server(), Random(1))
    yield world
    world.close()


def test_no_promise_is_broken_while_everything_is_killed_stopped_and_taken_away(world: World, backend: str) -> None:
    done = soak(world, plan(seed=7, seconds=6, every=0.45, on_postgres=backend == "postgresql"), at_least=20)
    assert sum(done.values()) >= 8, done
    evidence = world.evidence()
    assert sum(row.status == "completed" for row in evidence.rows) >= 20
    assert check(evidence) == []


def test_a_plan_is_the_same_for_the_same_seed_and_holds_every_fault() -> None:
    once, again = (list(plan(3, 1800, 2.5, on_postgres=True)) for _ in range(2))
    assert once == again
    assert once != list(plan(4, 1800, 2.5, on_postgres=True))
    assert {fault.what for fault in once} == set(ON_POSTGRES)


def test_a_soak_in_which_too_little_happened_shows_nothing_and_says_what_was_missing() -> None:
    over = Evidence([], [], [], [Row(number, "completed", 1, None) for number in range(1800)], [])
    enough = {"kill worker": 200, "kill client": 100, "database crashes": 15, "database restarts": 5, "hang up": 9}
    assert too_little(30, enough, over) == []
    [said] = too_little(30, enough | {"kill worker": 199}, over)
    assert said == "too little happened to show anything: 299 kills, at least 300 are asked for"
    assert len(too_little(30, {}, Evidence([], [], [], [Row(1, "failed", 1, None)], []))) == 3


def test_an_hour_planned_as_usual_holds_as_much_as_is_asked_for() -> None:
    for on_postgres in (False, True):
        for seed in range(5):
            done = Counter(fault.what for fault in plan(seed, 3600, 2.5, on_postgres))
            assert [said for said in too_little(60, done, Evidence([], [], [], [], [])) if "jobs" not in said] == []
