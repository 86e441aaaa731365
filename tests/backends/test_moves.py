"""Moves: a job changes its status only as the table of legal moves says, whatever verb is tried on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backends import FINAL, MOVES, Death, Job, Kind, NewJob, Outcome, Queue, Status, legal_before
from tests.backends.scene import claim_one, clear, everything, row

TAG = "tester:0001"
OURS = ("quick", "laned")
Verb = Callable[[Queue, Job], Any]

ENDS = {
    Status.COMPLETED: Kind.COMPLETED,
    Status.FAILED: Kind.GAVE_UP,
    Status.CANCELLED: Kind.CANCELLED,
    Status.PENDING: Kind.RELEASED,
}


def _settle(kind: Kind) -> Verb:
    return lambda queue, mine: queue.settle(TAG, [(mine, Outcome(kind, "because"))])


def _reclaim(kind: Kind) -> Verb:
    return lambda queue, mine: queue.reclaim(Death((TAG,), mine.id, mine.lease, kind, "died"))


# Which verb, tried how, makes a job what.
TRIES: list[tuple[str, Status, Verb]] = [
    ("claim", Status.RUNNING, lambda queue, mine: queue.claim("rival:0002", OURS, 5)),
    ("cancel", Status.CANCELLED, lambda queue, mine: queue.cancel(mine.id)),
    *(("settle", after, _settle(kind)) for after, kind in ENDS.items()),
    ("release", Status.PENDING, lambda queue, mine: queue.release([TAG], "drained", interrupted=False)),
    ("reclaim", Status.PENDING, _reclaim(Kind.CRASHED)),
    ("reclaim", Status.FAILED, _reclaim(Kind.GAVE_UP)),
    ("reclaim", Status.CANCELLED, _reclaim(Kind.CANCELLED)),
    ("reclaim", Status.PENDING, lambda queue, mine: queue.reclaim_expired(-1000)),
    ("retry", Status.PENDING, lambda queue, mine: queue.retry(mine.id)),
]


def _job_in(queue: Queue, status: Status, job_type: str) -> Job:
    """A job in that status, which was claimed under `TAG` unless it is pending."""
    queue.enqueue([NewJob(job_type, 1)])
    mine = claim_one(queue, TAG)
    if status is not Status.RUNNING:
        queue.settle(TAG, [(mine, Outcome(ENDS[status], "because"))])
    assert row(queue, mine.id).status == status
    return mine


@pytest.mark.parametrize("job_type", OURS)
@pytest.mark.parametrize("before", list(Status))
def test_a_verb_makes_its_legal_move_and_changes_nothing_otherwise(queue: Queue, before: Status, job_type: str) -> None:
    for verb, after, attempt in TRIES:
        clear(queue)
        mine = _job_in(queue, before, job_type)
        was = everything(queue)
        attempt(queue, mine)
        if before in legal_before(after, verb):
            assert row(queue, mine.id).status == after, verb
        elif (verb, before) == ("cancel", Status.RUNNING):
            now = row(queue, mine.id)
            assert (now.status, now.lease, now.locked_by) == (Status.RUNNING, mine.lease, TAG)
        else:
            assert everything(queue) == was, verb


def test_every_move_of_the_table_was_tried() -> None:
    assert {(verb, after) for verb, after, _ in TRIES} == {(move.verb, move.after) for move in MOVES}


def test_no_pair_of_statuses_outside_the_table_has_a_verb() -> None:
    legal = {(move.before, move.after) for move in MOVES}
    for before in Status:
        for after in Status:
            verbs = {move.verb for move in MOVES if (move.before, move.after) == (before, after)}
            assert bool(verbs) == ((before, after) in legal)


def test_only_an_operators_retry_leaves_a_final_status() -> None:
    assert {move.verb for move in MOVES if move.before in FINAL} == {"retry"}


@pytest.mark.parametrize("final", sorted(FINAL))
def test_writing_about_a_final_job_changes_nothing(queue: Queue, final: Status) -> None:
    mine = _job_in(queue, final, "quick")
    was = everything(queue)
    assert queue.heartbeat([TAG]) == []
    assert queue.admit() == 0
    assert queue.cancel(mine.id) == "final"
    assert everything(queue) == was
