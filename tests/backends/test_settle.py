"""Settle: what an attempt came to is recorded once, by whoever still holds the job, and by nobody else."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine

from backends import Job, Kind, NewJob, Outcome, Queue, RetryPolicy, Status
from tests.backends.scene import DONE, change, claim_one, everything, row, running

OURS = ("quick", "other", "laned", "also_laned")
FAILED = Outcome(Kind.FAILED, "ValueError: no", "Traceback ...")
ENDS = [DONE, FAILED, Outcome(Kind.GAVE_UP, "no"), Outcome(Kind.SNOOZED, after=5), Outcome(Kind.RELEASED)]


def test_success_ends_the_job_and_unlocks_it(queue: Queue) -> None:
    mine = running(queue)
    assert queue.settle("tester:0001", [(mine, DONE)]) == []
    now = row(queue, mine.id)
    assert (now.status, now.locked_by, now.locked_at, now.locked_boot) == (Status.COMPLETED, None, None, None)
    assert now.completed_at >= now.started_at
    assert queue.attempts(mine.id) == []


@pytest.mark.parametrize("job_type", ["quick", "laned"])
@pytest.mark.parametrize("wrong", ["tag", "lease", "status"])
def test_whoever_does_not_hold_the_job_changes_nothing(queue: Queue, job_type: str, wrong: str) -> None:
    mine, tag = running(queue, job_type=job_type), "tester:0001"
    if wrong == "tag":
        tag = "somebody:else"
    elif wrong == "lease":
        mine = mine._replace(lease=mine.lease + 1)
    else:
        queue.settle(tag, [(mine, DONE)])
    before = everything(queue)
    for outcome in ENDS:
        for settle in (queue.settle, partial(queue.settle_and_claim, tag="next:0001", job_types=OURS, limit=5)):
            answer = settle(tag, [(mine, outcome)])
            assert (answer if isinstance(answer, list) else answer.lost) == [mine], "settled by one who does not hold the job"
            assert everything(queue) == before, "changed by one who does not hold the job"


def test_a_superseded_attempt_changes_nothing(queue: Queue) -> None:
    old = running(queue)
    queue.release(["tester:0001"], "lost", interrupted=True)
    new = claim_one(queue, "other:0002")
    before = everything(queue)
    assert queue.settle("tester:0001", [(old, DONE)]) == [old]
    assert everything(queue) == before
    assert queue.settle("other:0002", [(new, DONE)]) == []


def test_retries_are_counted_up_to_the_jobs_own_limit_and_every_attempt_is_kept(queue: Queue) -> None:
    quick = Queue(queue.engine, {"quick": RetryPolicy(backoff="none")})
    quick.enqueue([NewJob("quick", 1, max_retries=2)])
    for number in range(1, 4):
        mine = claim_one(quick, f"tester:{number}")
        assert mine.retry_count == number - 1
        quick.settle(f"tester:{number}", [(mine, Outcome(Kind.FAILED, f"reason {number}", "trace"))])
    now = row(quick, mine.id)
    assert (now.status, now.retry_count, now.error_message) == (Status.FAILED, 2, "reason 3")
    kept = [(each.lease, each.outcome, each.reason, each.detail, each.locked_by) for each in quick.attempts(mine.id)]
    assert kept == [(number, "failed", f"reason {number}", "trace", f"tester:{number}") for number in (1, 2, 3)]


def test_a_failure_waits_for_its_backoff(queue: Queue) -> None:
    patient = Queue(queue.engine, {"quick": RetryPolicy(initial=500, jitter="none")})
    mine = running(patient)
    patient.settle("tester:0001", [(mine, FAILED)])
    now = row(patient, mine.id)
    assert (now.status, now.waits_for, now.ready_at) == (Status.PENDING, "time", None)
    assert 490 < (patient.next_due() or 0) <= 500


def test_the_first_crash_runs_again_at_once(queue: Queue) -> None:
    mine = running(queue)
    queue.settle("tester:0001", [(mine, Outcome(Kind.CRASHED, "signal 9"))])
    again = claim_one(queue)
    assert (again.id, again.retry_count) == (mine.id, 1)
    queue.settle("tester:0001", [(again, Outcome(Kind.CRASHED, "signal 9"))])
    assert row(queue, mine.id).waits_for == "time"


@pytest.mark.parametrize("after", [1e-9, 1e-5, 0.25, 1e9, 1e300, math.inf])
def test_a_snoozed_job_is_due_some_day_however_odd_the_wait(queue: Queue, after: float) -> None:
    mine = running(queue)
    queue.settle("tester:0001", [(mine, Outcome(Kind.SNOOZED, "later", after=after))])
    now = row(queue, mine.id)
    assert (now.status, now.waits_for, now.retry_count) == (Status.PENDING, "time", 0)
    assert now.scheduled_at is not None
    assert (queue.next_due() or 0.0) >= min(after, 1e8) - 1


def test_a_success_clears_the_error_of_earlier_attempts(queue: Queue) -> None:
    again = Queue(queue.engine, {"quick": RetryPolicy(backoff="none")})
    again.settle("tester:0001", [(running(again), FAILED)])
    mine = claim_one(again, "tester:0002")
    assert row(again, mine.id).error_message == "ValueError: no"
    again.settle("tester:0002", [(mine, DONE)])
    assert row(again, mine.id).error_message is None


def test_settling_and_claiming_is_one_transaction(queue: Queue, engine: Engine) -> None:
    done = running(queue)
    (next_id,) = queue.enqueue([NewJob("quick", 1)])
    cycle = queue.settle_and_claim("tester:0001", [(done, DONE)], "tester:0002", OURS, 5)
    assert cycle.lost == []
    assert [each.id for each in cycle.claimed] == [next_id]
    assert [row(queue, each).status for each in (done.id, next_id)] == [Status.COMPLETED, Status.RUNNING]


def test_a_settled_lane_hands_its_next_job_to_the_same_call(queue: Queue) -> None:
    first, second = queue.enqueue([NewJob("laned", 1), NewJob("laned", 1)])
    mine = claim_one(queue)
    assert (mine.id, queue.claim("nobody:1", OURS, 5)) == (first, [])
    cycle = queue.settle_and_claim("tester:0001", [(mine, DONE)], "tester:0002", OURS, 1)
    assert [each.id for each in cycle.claimed] == [second]


def _part_of_a_batch_lost(queue: Queue, engine: Engine, outcome: Outcome) -> tuple[list[Job], Any]:
    queue.enqueue([NewJob("quick", 1) for _ in range(6)])
    batch = queue.claim("tester:0001", OURS, 5)
    change(engine, batch[1].id, lease=9)
    change(engine, batch[3].id, locked_by="somebody:else")
    finished = [(each, outcome if at == 4 else DONE) for at, each in enumerate(batch)]
    return batch, queue.settle_and_claim("tester:0001", finished, "tester:0002", OURS, 5)


@pytest.mark.parametrize("outcome", [DONE, FAILED])
def test_what_is_left_of_a_batch_is_settled_when_part_of_it_is_lost(
    queue: Queue, engine: Engine, outcome: Outcome
) -> None:
    batch, cycle = _part_of_a_batch_lost(queue, engine, outcome)
    assert cycle.lost == [batch[1], batch[3]]
    assert len(cycle.claimed) == 1
    statuses = [row(queue, each.id).status for each in batch]
    last = Status.COMPLETED if outcome is DONE else Status.PENDING
    assert statuses == [Status.COMPLETED, Status.RUNNING, Status.COMPLETED, Status.RUNNING, last]
    assert queue.counts().completed == statuses.count(Status.COMPLETED)


def test_a_settle_repeated_after_a_lost_reply_is_told_apart_by_nothing_but_the_answer(queue: Queue) -> None:
    mine = running(queue)
    queue.settle("tester:0001", [(mine, DONE)])
    before = everything(queue)
    assert queue.settle("tester:0001", [(mine, DONE)]) == [mine]
    assert everything(queue) == before


@pytest.mark.parametrize("text", ["nul \0", "lone \ud800", "x" * 1_000_000])
def test_reasons_that_no_database_stores_are_kept_as_well_as_they_can_be(queue: Queue, text: str) -> None:
    mine = running(queue)
    queue.settle("tester:0001", [(mine, Outcome(Kind.GAVE_UP, text, text))])
    (attempt,) = queue.attempts(mine.id)
    assert attempt.reason[:3] == text[:3]
    assert len(attempt.detail) < 21_000
