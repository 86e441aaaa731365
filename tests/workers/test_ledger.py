"""The ledger: no claim is ever sent that is not on the books, and what is in doubt stays there to be given back."""

from __future__ import annotations

import pytest

from backends import NewJob, Queue, Status
from workers import MOST_CLAIMS, Board, ClaimState, Slot
from workers.ledger import Ledger


@pytest.fixture
def slot() -> Slot:
    return Board(1).slots[0]


@pytest.fixture
def ledger(slot: Slot) -> Ledger:
    return Ledger(slot, "worker-1", 25.0)


def _books(slot: Slot) -> list[tuple[str, ClaimState]]:
    return [(f"worker-1:{claim.nonce.decode()}", ClaimState(claim.state)) for claim in slot.claims]


def test_a_claim_is_on_the_books_before_it_can_be_sent(ledger: Ledger, slot: Slot) -> None:
    tag = ledger.ask()
    assert _books(slot) == [(tag, ClaimState.HELD)]
    assert len(tag) == len("worker-1:") + 16
    assert ledger.tag == ""


def test_each_claim_has_a_name_of_its_own(ledger: Ledger) -> None:
    assert len({ledger.ask() for _ in range(100)}) == 100, "two claims bear the same tag"


def test_giving_back_a_claim_in_doubt_takes_nothing_from_the_same_workers_next_one(queue: Queue, ledger: Ledger) -> None:
    queue.enqueue([NewJob("quick", 1), NewJob("quick", 1)])
    lost = ledger.ask()
    [granted] = queue.claim(lost, ["quick"], 1)
    ledger.in_doubt()
    [mine] = queue.claim(ledger.ask(), ["quick"], 1)
    ledger.granted(any_jobs=True)
    queue.release([lost], "its answer was lost", interrupted=False)
    standing = [view.status for job in (granted, mine) if (view := queue.get(job.id)) is not None]
    assert standing == [Status.PENDING, Status.RUNNING], "what a worker runs was given back with what it dropped"


def test_what_is_granted_replaces_what_was_held(ledger: Ledger, slot: Slot) -> None:
    first = ledger.ask()
    ledger.granted(any_jobs=True)
    assert ledger.tag == first
    second = ledger.ask()
    assert {tag for tag, _ in _books(slot)} == {first, second}
    ledger.granted(any_jobs=True)
    assert _books(slot) == [(second, ClaimState.HELD)]


def test_a_claim_that_brought_nothing_leaves_the_books(ledger: Ledger, slot: Slot) -> None:
    ledger.ask()
    ledger.granted(any_jobs=False)
    assert (_books(slot), ledger.tag) == ([], "")


def test_a_claim_whose_reply_was_lost_is_to_be_given_back_and_what_is_held_is_kept(ledger: Ledger, slot: Slot) -> None:
    held = ledger.ask()
    ledger.granted(any_jobs=True)
    lost = ledger.ask()
    ledger.in_doubt()
    assert _books(slot) == [(held, ClaimState.HELD), (lost, ClaimState.DROPPED)]
    ledger.in_doubt()
    ledger.settled()
    assert _books(slot) == [(lost, ClaimState.DROPPED)]


def test_what_cannot_be_settled_any_more_is_given_up(ledger: Ledger, slot: Slot) -> None:
    held = ledger.ask()
    ledger.granted(any_jobs=True)
    ledger.give_up()
    ledger.give_up()
    assert (_books(slot), ledger.tag) == ([(held, ClaimState.DROPPED)], "")


def test_the_books_never_overflow_and_keep_the_latest_doubts(ledger: Ledger, slot: Slot) -> None:
    ledger.ask()
    ledger.granted(any_jobs=True)
    lost = []
    for _ in range(9):
        lost.append(ledger.ask())
        assert len(slot.claims) <= MOST_CLAIMS
        ledger.in_doubt()
    assert [tag for tag, state in _books(slot) if state is ClaimState.DROPPED] == lost[-2:]


def test_the_fence_counts_from_before_the_claim_was_sent(ledger: Ledger, slot: Slot) -> None:
    assert ledger.fenced_at() == float("inf")
    ledger.ask()
    assert ledger.fenced_at() == slot.claims[0].sent_at + 25.0
    ledger.in_doubt()
    assert ledger.fenced_at() == float("inf")
