"""Release: gives back what a tag holds, unspent."""

from __future__ import annotations

from backends import Kind, NewJob, Queue, Status
from tests.backends.scene import DONE, claim_one, everything, row, running


def test_everything_under_the_tags_goes_back_unspent(queue: Queue) -> None:
    queue.enqueue([NewJob("quick", 1) for _ in range(3)])
    queue.claim("mine:1", ("quick",), 2)
    queue.claim("theirs:1", ("quick",), 1)
    assert queue.release(["mine:1", "gone:1"], "drained", interrupted=False) == 2, "what others hold was taken back"
    again = queue.claim("mine:2", ("quick",), 5)
    assert [(each.retry_count, each.interruptions, each.lease) for each in again] == [(0, 0, 2), (0, 0, 2)]


def test_an_interruption_is_counted_apart(queue: Queue) -> None:
    mine = running(queue)
    queue.release(["tester:0001"], "host lost", interrupted=True)
    now = row(queue, mine.id)
    assert (now.status, now.retry_count, now.interruptions) == (Status.PENDING, 0, 1)
    assert [(each.outcome, each.reason) for each in queue.attempts(mine.id)] == [(Kind.INTERRUPTED, "host lost")]


def test_the_twenty_first_interruption_ends_the_job(queue: Queue) -> None:
    queue.enqueue([NewJob("quick", 1)])
    for number in range(21):
        mine = claim_one(queue, f"tester:{number}")
        queue.release([f"tester:{number}"], "host lost", interrupted=True)
    now = row(queue, mine.id)
    assert (now.status, now.error_message) == (Status.FAILED, "interrupted 21 times, last: host lost")


def test_releasing_twice_changes_nothing(queue: Queue) -> None:
    running(queue)
    queue.release(["tester:0001"], "drained", interrupted=False)
    before = everything(queue)
    assert queue.release(["tester:0001"], "drained", interrupted=False) == 0
    assert queue.release([], "drained", interrupted=False) == 0
    assert everything(queue) == before


def test_a_released_job_keeps_its_place_in_its_lane(queue: Queue) -> None:
    first, _ = queue.enqueue([NewJob("laned", 1), NewJob("laned", 1)])
    claim_one(queue)
    queue.release(["tester:0001"], "drained", interrupted=False)
    assert claim_one(queue, "tester:0002").id == first


def test_a_job_that_somebody_wants_cancelled_is_not_given_back_but_ended(queue: Queue) -> None:
    mine = running(queue)
    queue.cancel(mine.id)
    queue.release(["tester:0001"], "drained", interrupted=False)
    assert row(queue, mine.id).status == Status.CANCELLED


def test_the_released_attempt_can_not_settle_any_more(queue: Queue) -> None:
    mine = running(queue)
    queue.release(["tester:0001"], "drained", interrupted=False)
    assert queue.settle("tester:0001", [(mine, DONE)]) == [mine]
