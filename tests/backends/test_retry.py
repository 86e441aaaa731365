"""Retry: an operator's word puts a finished job back, as new."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backends import Kind, NewJob, Outcome, Queue, RetryAnswer, Status
from tests.backends.scene import DONE, claim_one, everything, row, running

ENDS = [DONE, Outcome(Kind.GAVE_UP, "no"), Outcome(Kind.CANCELLED, "stop")]


@pytest.mark.parametrize("job_type", ["quick", "laned"])
@pytest.mark.parametrize("outcome", ENDS)
def test_a_finished_job_runs_again_with_all_its_retries(queue: Queue, outcome: Outcome, job_type: str) -> None:
    mine = running(queue, job_type=job_type)
    queue.cancel(mine.id)
    queue.settle("tester:0001", [(mine, outcome)])
    assert queue.retry(mine.id) is RetryAnswer.RETRIED
    now = row(queue, mine.id)
    assert (now.status, now.retry_count, now.interruptions, now.completed_at) == (Status.PENDING, 0, 0, None)
    assert (now.error_message, now.cancel_requested_at, now.lane) == (None, None, None)
    again = claim_one(queue, "tester:0002")
    assert (again.id, again.lease) == (mine.id, 2)


def test_a_job_cancelled_before_its_time_is_due_at_once_when_retried(queue: Queue) -> None:
    (job_id,) = queue.enqueue([NewJob("quick", 1, scheduled_at=datetime.now(UTC) + timedelta(days=1))])
    queue.cancel(job_id)
    queue.retry(job_id)
    assert claim_one(queue).id == job_id


def test_its_attempts_and_its_checkpoint_are_kept(queue: Queue) -> None:
    mine = running(queue)
    queue.checkpoint("tester:0001", mine, '"page 7"')
    queue.settle("tester:0001", [(mine, Outcome(Kind.GAVE_UP, "no"))])
    queue.retry(mine.id)
    assert claim_one(queue).checkpoint == '"page 7"'
    assert [each.outcome for each in queue.attempts(mine.id)] == ["gave_up"]


def test_a_retried_job_waits_behind_its_lane(queue: Queue) -> None:
    mine = running(queue, job_type="laned")
    queue.settle("tester:0001", [(mine, DONE)])
    running(queue, "tester:0002", job_type="laned")
    queue.retry(mine.id)
    assert queue.claim("t:3", ("laned",), 5) == []
    assert row(queue, mine.id).waits_for == "lane"


def test_what_is_queued_or_runs_is_left_alone(queue: Queue) -> None:
    mine = running(queue)
    (queued,) = queue.enqueue([NewJob("quick", 1)])
    before = everything(queue)
    assert queue.retry(queued) is RetryAnswer.ACTIVE, "a job that is not over was retried"
    assert queue.retry(mine.id) is RetryAnswer.ACTIVE
    assert queue.retry(12345) is RetryAnswer.MISSING
    assert everything(queue) == before


def test_the_counters_follow(queue: Queue) -> None:
    mine = running(queue)
    queue.settle("tester:0001", [(mine, DONE)])
    assert (queue.counts().completed, queue.counts().pending) == (1, 0)
    queue.retry(mine.id)
    assert (queue.counts().completed, queue.counts().pending) == (0, 1)
