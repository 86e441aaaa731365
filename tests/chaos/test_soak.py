"""Some seconds of a soak, as every run of the suite can afford them; the long ones are `python -m tests.chaos`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from .checker import check
from .faults import ON_POSTGRES, plan
from .soak import soak
from .world import File, Server, World


@pytest.fixture
def world(backend: str, tmp_path: Path) -> Iterator[World]:
    """A world on a database of its own."""
    world = World(tmp_path, File(tmp_path) if backend == "sqlite" else Server(), Random(1))
    yield world
    world.close()


def test_no_promise_is_broken_while_everything_is_killed_stopped_and_taken_away(world: World, backend: str) -> None:
    done = soak(world, plan(seed=7, seconds=12, every=0.8, on_postgres=backend == "postgresql"))
    assert sum(done.values()) >= 8, done
    evidence = world.evidence()
    assert sum(row.status == "completed" for row in evidence.rows) > 20
    assert check(evidence) == []


def test_a_plan_is_the_same_for_the_same_seed_and_holds_every_fault() -> None:
    once, again = (list(plan(3, 1800, 2.5, on_postgres=True)) for _ in range(2))
    assert once == again
    assert once != list(plan(4, 1800, 2.5, on_postgres=True))
    assert {fault.what for fault in once} == set(ON_POSTGRES)
