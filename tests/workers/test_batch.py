"""The batch, and the helper that keeps a slow job from holding up its neighbours."""

from __future__ import annotations

import threading
import time

import pytest

from backends import DatabaseUnavailable, Kind, Outcome
from tests.support import eventually
from tests.workers.jobs import a_job
from workers.batch import SLOW, Batch, Finished, Helper, handed_back
from workers.pace import FIRST_PAUSE

DONE = Outcome(Kind.COMPLETED)
JOBS = [a_job(number) for number in range(1, 5)]


def _kinds(finished: Finished) -> list[tuple[int, Kind]]:
    return [(job.id, outcome.kind) for job, outcome in finished]


def test_jobs_start_in_order_and_each_once() -> None:
    batch = Batch("t:1", JOBS)
    assert [batch.start() for _ in range(5)] == [*JOBS, None]


def test_whoever_takes_what_is_finished_has_it_alone() -> None:
    batch = Batch("t:1", JOBS)
    batch.finish(JOBS[0], DONE)
    assert _kinds(batch.take_finished()) == [(1, Kind.COMPLETED)]
    assert batch.take_finished() == []


def test_what_could_not_be_settled_comes_before_what_finished_since() -> None:
    batch = Batch("t:1", JOBS)
    batch.finish(JOBS[0], DONE)
    taken = batch.take_finished()
    batch.finish(JOBS[1], DONE)
    batch.put_back(taken)
    assert _kinds(batch.take_finished()) == [(1, Kind.COMPLETED), (2, Kind.COMPLETED)]


def test_a_job_is_either_started_or_handed_back() -> None:
    for _ in range(50):
        batch = Batch("t:1", [a_job(number) for number in range(100)])
        back: list[int] = []
        thief = threading.Thread(target=lambda batch=batch, back=back: back.extend(job.id for job in batch.take_waiting()))
        thief.start()
        started = []
        while (job := batch.start()) is not None:
            started.append(job.id)
        thief.join()
        assert sorted(started + back) == list(range(100))


def test_behind_a_slow_job_what_is_done_is_settled_and_the_rest_handed_back() -> None:
    settled: list[Finished] = []
    helper = Helper(lambda batch, finished: settled.append(finished), lock_timeout=30.0)
    batch = Batch("t:1", JOBS)
    for _ in range(2):
        job = batch.start()
        assert job is not None
        batch.finish(job, DONE)
    batch.start()
    helper.watch(batch)
    (finished,) = eventually(lambda: settled, within=20 * SLOW)
    assert _kinds(finished) == [(1, Kind.COMPLETED), (2, Kind.COMPLETED), (4, Kind.RELEASED)]
    helper.stop_watching()


def test_a_batch_that_moves_on_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.batch.SLOW", 5 * SLOW)
    settled: list[Finished] = []
    helper = Helper(lambda batch, finished: settled.append(finished), lock_timeout=30.0)
    batch = Batch("t:1", [a_job(number) for number in range(40)])
    helper.watch(batch)
    pause = threading.Event()
    while (job := batch.start()) is not None:
        pause.wait(SLOW / 4)
        batch.finish(job, DONE)
    helper.stop_watching()
    assert settled == []


@pytest.mark.parametrize("error", [DatabaseUnavailable("gone"), RuntimeError("a fault of ours")])
def test_what_the_helper_could_not_settle_is_there_for_the_main_thread(error: Exception) -> None:
    """The main thread comes while the helper still waits for an answer that will be an error."""
    asked, answer = threading.Event(), threading.Event()

    def settle(batch: Batch, finished: Finished) -> None:
        asked.set()
        answer.wait(5)
        raise error

    helper = Helper(settle, lock_timeout=30.0)
    batch = Batch("t:1", JOBS)
    batch.start()
    helper.watch(batch)
    assert asked.wait(5)
    batch.finish(JOBS[0], DONE)
    threading.Timer(0.1, answer.set).start()
    helper.stop_watching()
    assert _kinds(batch.take_finished()) == [
        (2, Kind.RELEASED), (3, Kind.RELEASED), (4, Kind.RELEASED), (1, Kind.COMPLETED)
    ]


def test_a_helper_that_met_an_error_still_helps_with_the_next_batch() -> None:
    settled: list[Finished] = []

    def settle(batch: Batch, finished: Finished) -> None:
        settled.append(finished)
        if batch.tag == "t:1":
            raise RuntimeError("once")

    helper = Helper(settle, lock_timeout=30.0)
    for number in (1, 2):
        batch = Batch(f"t:{number}", JOBS)
        batch.start()
        helper.watch(batch)
        eventually(lambda number=number: len(settled) >= number)
        helper.stop_watching()
    assert len(settled) == 2


def test_a_database_that_is_away_is_asked_less_and_less_often_behind_a_slow_job() -> None:
    asked_at: list[float] = []

    def settle(batch: Batch, finished: Finished) -> None:
        asked_at.append(time.monotonic())
        raise DatabaseUnavailable("gone")

    helper = Helper(settle, lock_timeout=30.0)
    batch = Batch("t:1", JOBS)
    batch.start()
    helper.watch(batch)
    eventually(lambda: len(asked_at) == 3)
    helper.stop_watching()
    assert asked_at[1] - asked_at[0] >= FIRST_PAUSE / 2
    assert asked_at[2] - asked_at[1] >= FIRST_PAUSE


def test_what_is_handed_back_is_unspent_and_without_a_reason() -> None:
    assert handed_back(JOBS[:1]) == [(JOBS[0], Outcome(Kind.RELEASED))]
