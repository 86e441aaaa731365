"""Heartbeat: renews what live workers list, waits for nobody, and brings back the wish to cancel."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Engine, text

from backends import NewJob, Queue, Renewed
from tests.backends.scene import DONE, analyze, insert_many, plans, row, running, time_text, waiting_for_nobody


def test_only_listed_tags_are_renewed(queue: Queue) -> None:
    mine, theirs = running(queue, "mine:1"), running(queue, "theirs:1")
    before = {each.id: row(queue, each.id).locked_at for each in (mine, theirs)}
    renewed = queue.heartbeat(["mine:1", "gone:1"])
    assert renewed == [Renewed("mine:1", mine.id, mine.lease, False)], "a lease was renewed that nobody listed"
    assert row(queue, mine.id).locked_at > before[mine.id]
    assert row(queue, theirs.id).locked_at == before[theirs.id]


def test_all_jobs_of_a_claim_are_renewed_together(queue: Queue) -> None:
    queue.enqueue([NewJob("quick", 1) for _ in range(3)])
    claimed = queue.claim("mine:1", ("quick",), 3)
    assert {each.job_id for each in queue.heartbeat(["mine:1"])} == {each.id for each in claimed}


def test_nothing_listed_is_nothing_renewed(queue: Queue) -> None:
    running(queue)
    assert queue.heartbeat([]) == []
    assert queue.held([]) == set()


def test_settled_jobs_are_not_renewed_and_their_tags_hold_nothing(queue: Queue) -> None:
    mine, other = running(queue, "mine:1"), running(queue, "mine:2")
    assert queue.held(["mine:1", "mine:2", "mine:3"]) == {"mine:1", "mine:2"}
    queue.settle("mine:1", [(mine, DONE)])
    assert [each.job_id for each in queue.heartbeat(["mine:1", "mine:2"])] == [other.id]
    assert queue.held(["mine:1", "mine:2"]) == {"mine:2"}


def test_the_wish_to_cancel_comes_back_with_the_renewal(queue: Queue) -> None:
    mine = running(queue)
    queue.cancel(mine.id)
    assert [each.cancel_requested for each in queue.heartbeat(["tester:0001"])] == [True]


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_rows_that_others_hold_locked_are_left_out_without_waiting(queue: Queue, engine: Engine) -> None:
    locked, free = running(queue, "mine:1"), running(queue, "mine:2")
    with engine.connect() as rival:
        rival.execute(text(f"SELECT id FROM indexing_jobs WHERE id = {locked.id} FOR UPDATE"))
        began = time.monotonic()
        with waiting_for_nobody():
            assert [each.job_id for each in queue.heartbeat(["mine:1", "mine:2"])] == [free.id]
        assert time.monotonic() - began < 1
    assert len(queue.heartbeat(["mine:1", "mine:2"])) == 2


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_handlers_fenced_transaction_does_not_keep_its_lease_from_being_renewed(queue: Queue) -> None:
    mine = running(queue)
    with queue.transaction("tester:0001", mine):
        assert [each.job_id for each in queue.heartbeat(["tester:0001"])] == [mine.id]


def test_renewing_never_reads_the_history(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 20_000, status="'completed'", completed_at=time_text(engine, 60))
    running(queue)
    analyze(engine)
    (plan,) = plans(engine, "UPDATE indexing_jobs", lambda: queue.heartbeat(["tester:0001"]))
    assert "jobqueue_running" in plan
    assert "Seq Scan" not in plan
    assert "SCAN indexing_jobs" not in plan
