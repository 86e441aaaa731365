"""Cancel: a queued job at once, a running one by asking."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import Engine, text

from backends import EVERYTHING, CancelAnswer, Kind, NewJob, Outcome, Queue, Status, open_engine
from tests.backends.scene import DONE, claim_one, everything, insert_raw, row, running
from tests.support import eventually


def test_a_queued_job_is_cancelled_at_once_and_never_runs(queue: Queue) -> None:
    (job_id,) = queue.enqueue([NewJob("quick", 1)])
    assert queue.cancel(job_id) is CancelAnswer.CANCELLED
    now = row(queue, job_id)
    assert (now.status, now.ready_at, now.error_message) == (Status.CANCELLED, None, "cancelled before it ran")
    assert now.completed_at is not None
    assert queue.claim("t:1", ("quick",), 5) == []


@pytest.mark.parametrize("job_type", ["quick", "laned", "novel"])
def test_a_job_nobody_has_examined_is_cancelled_too(queue: Queue, engine: Engine, job_type: str) -> None:
    job_id = insert_raw(engine, job_type=job_type)
    assert queue.cancel(job_id) is CancelAnswer.CANCELLED
    assert queue.admit() == 0


def test_a_running_job_is_asked_and_keeps_running_until_it_ends(queue: Queue) -> None:
    mine = running(queue)
    assert queue.cancel(mine.id) is CancelAnswer.ASKED
    first = row(queue, mine.id).cancel_requested_at
    assert queue.cancel(mine.id) is CancelAnswer.ASKED
    assert row(queue, mine.id).cancel_requested_at == first
    assert row(queue, mine.id).status == Status.RUNNING
    queue.settle("tester:0001", [(mine, Outcome(Kind.FAILED, "no"))])
    assert row(queue, mine.id).status == Status.CANCELLED


def test_success_that_commits_first_wins(queue: Queue) -> None:
    mine = running(queue)
    queue.cancel(mine.id)
    queue.settle("tester:0001", [(mine, DONE)])
    assert row(queue, mine.id).status == Status.COMPLETED
    assert queue.cancel(mine.id) is CancelAnswer.FINAL


def test_a_job_that_ended_since_it_was_seen_running_is_not_asked_to_stop(queue: Queue, engine: Engine) -> None:
    from backends.operating import _ask_to_stop

    mine = running(queue)
    queue.settle("tester:0001", [(mine, DONE)])
    before = everything(queue)
    with engine.begin() as connection:
        assert not _ask_to_stop(connection, mine.id), "a job that is over was asked to stop"
    assert everything(queue) == before


def test_a_job_that_was_claimed_since_it_was_seen_waiting_is_not_cancelled_unasked(queue: Queue, engine: Engine) -> None:
    from backends.operating import _cancel_queued, _look

    (job_id,) = queue.enqueue([NewJob("quick", 1)])
    with engine.connect() as connection:
        seen = _look(connection, job_id, EVERYTHING)
    claim_one(queue)
    before = everything(queue)
    with engine.begin() as connection:
        assert seen is not None
        assert not _cancel_queued(connection, seen), "a running job was cancelled like a queued one"
    assert everything(queue) == before


def test_a_job_that_is_not_there_is_missing(queue: Queue) -> None:
    before = everything(queue)
    assert queue.cancel(12345) is CancelAnswer.MISSING
    assert queue.cancel(2**62) is CancelAnswer.MISSING
    assert everything(queue) == before


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("claimed", [True, False])
def test_a_job_that_is_just_being_claimed_is_waited_for_without_its_lane_in_hand(
    queue: Queue, database_url: str, claimed: bool
) -> None:
    job_id, behind = queue.enqueue([NewJob("laned", 1), NewJob("laned", 1)])
    queue.admit()
    said = []
    canceller = threading.Thread(target=lambda: said.append(queue.cancel(job_id)))
    rival = open_engine(database_url)
    with rival.connect() as connection:
        connection.execute(text(f"SELECT id FROM indexing_jobs WHERE id = {job_id} FOR NO KEY UPDATE"))
        canceller.start()
        canceller.join(0.2)
        assert not said
        connection.execute(text("SELECT name FROM jobqueue_lanes FOR UPDATE NOWAIT"))
        if claimed:
            connection.execute(text(
                f"UPDATE indexing_jobs SET status = 'running', locked_by = 'rival:1', ready_at = NULL WHERE id = {job_id}"
            ))
            connection.commit()
    eventually(lambda: said)
    canceller.join()
    assert said == [CancelAnswer.ASKED if claimed else CancelAnswer.CANCELLED]
    assert (row(queue, behind).ready_at is not None) is not claimed
    rival.dispose()


def test_cancelling_beside_many_is_quick(queue: Queue) -> None:
    ids = queue.enqueue([NewJob("laned", 1) for _ in range(100)])
    queue.admit()
    began = time.monotonic()
    assert {queue.cancel(job_id) for job_id in ids[:30]} == {CancelAnswer.CANCELLED}
    assert time.monotonic() - began < 5
    assert claim_one(queue).id == ids[30]
