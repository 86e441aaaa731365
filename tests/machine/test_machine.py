"""The search that every run of the suite can afford, and that it finds what is wrong when something is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import Engine, update

from backends import Job, Queue, indexing_jobs, lanes, statements
from backends.cycle import Cycles
from tests.backends.conftest import two_queues

from .machine import search

__all__ = ["two_queues"]


FINDS_SOON = 6
"""A seed under which the planted faults are found within seconds; under others some took longer than a minute."""


@pytest.fixture
def engines(two_queues: tuple[Queue, Queue]) -> Iterator[list[Engine]]:
    """A fresh SQLite database and a fresh Postgres one."""
    return [queue.engine for queue in two_queues]


def test_any_order_of_verbs_keeps_the_promises_alike_on_both_databases(engines: list[Engine]) -> None:
    search(engines, examples=8, steps=40)


def _drop_the_fence(monkeypatch: pytest.MonkeyPatch, engines: list[Engine]) -> None:
    job = statements.job
    monkeypatch.setattr(
        statements, "still_mine", lambda tag, jobs: statements.IS_RUNNING & job.id.in_([each.id for each in jobs])
    )


def _drop_the_fence_of_settling(monkeypatch: pytest.MonkeyPatch, engines: list[Engine]) -> None:
    settle = Cycles._in_steps

    def in_steps(self: Cycles, *arguments: Any) -> Any:
        with pytest.MonkeyPatch.context() as meanwhile:
            _drop_the_fence(meanwhile, engines)
            return settle(self, *arguments)

    monkeypatch.setattr(Cycles, "_in_steps", in_steps)


def _drop_the_lane_rule(monkeypatch: pytest.MonkeyPatch, engines: list[Engine]) -> None:
    monkeypatch.setattr(lanes, "_holder", lambda connection, name, head: None)
    for engine in engines:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP INDEX jobqueue_one_runs_in_a_lane")


def _forget_to_count(monkeypatch: pytest.MonkeyPatch, engines: list[Engine]) -> None:
    monkeypatch.setattr("backends.ending.tally", lambda connection, moves: None)


def _write_unfenced(monkeypatch: pytest.MonkeyPatch, engines: list[Engine]) -> None:
    def write(self: Queue, tag: str, mine: Job, values: Mapping[str, Any]) -> None:
        with self.engine.begin() as connection:
            connection.execute(update(indexing_jobs).where(indexing_jobs.c.id == mine.id).values(**values))

    monkeypatch.setattr(Queue, "_write_mine", write)


def _begin_unfenced(monkeypatch: pytest.MonkeyPatch, engines: list[Engine]) -> None:
    monkeypatch.setattr(Queue, "transaction", lambda self, tag, mine: self.engine.begin())


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (_write_unfenced, "G6: job .* says .* of itself instead of"),
        (_begin_unfenced, r"G6: attempts wrote {.*} instead of \(\)"),
        (_drop_the_fence, "G6: (attempt .* was ended by others|job .* says .* of itself|attempts wrote)"),
        (_drop_the_fence_of_settling, "G6: attempt .* was ended by others"),
        (_drop_the_lane_rule, "lane program:[12]: 2 jobs are running"),
        (_forget_to_count, "counters of program all say"),
    ],
)
def test_a_fault_in_the_queue_is_found(
    engines: list[Engine], monkeypatch: pytest.MonkeyPatch, plant: Callable[..., None], found: str
) -> None:
    plant(monkeypatch, engines)
    with pytest.raises(AssertionError, match=found):
        search(engines[:1], examples=300, steps=40, number=FINDS_SOON, shrink=False)
