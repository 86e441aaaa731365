"""What becomes of a job when an attempt ends."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import Kind, Outcome, RetryPolicy, Status
from backends.decisions import MOST_INTERRUPTIONS, Counters, Decision, decide

PLAIN = RetryPolicy(jitter="none")
SPENDING = (Kind.FAILED, Kind.CRASHED, Kind.TIMED_OUT)

counters = st.builds(
    Counters,
    retry_count=st.integers(0, 50),
    max_retries=st.integers(0, 50),
    interruptions=st.integers(0, 25),
    cancel_requested=st.booleans(),
)
outcomes = st.builds(Outcome, kind=st.sampled_from(Kind), reason=st.text(max_size=5), after=st.floats(0, 1e6))


def decided(kind: Kind, spent: int = 0, limit: int = 3, interrupted: int = 0, cancel: bool = False) -> Decision:
    return decide(Counters(spent, limit, interrupted, cancel), Outcome(kind, "because", after=7.0), PLAIN, Random(1))


def test_success_is_final_and_leaves_no_error() -> None:
    assert decided(Kind.COMPLETED) == Decision(Status.COMPLETED, 0, 0)


@pytest.mark.parametrize("kind", SPENDING)
def test_each_failure_spends_one_retry_until_none_is_left(kind: Kind) -> None:
    assert [decided(kind, spent).status for spent in range(4)] == [*[Status.PENDING] * 3, Status.FAILED]
    assert [decided(kind, spent).retry_count for spent in range(4)] == [1, 2, 3, 3]


def test_a_job_with_no_retries_fails_the_first_time() -> None:
    assert decided(Kind.FAILED, limit=0) == Decision(Status.FAILED, 0, 0, error="because")


def test_the_first_crash_runs_again_at_once_and_later_ones_back_off() -> None:
    assert [decided(Kind.CRASHED, spent).after for spent in range(3)] == [0, 20, 40]


@pytest.mark.parametrize("kind", [Kind.FAILED, Kind.TIMED_OUT])
def test_a_failure_backs_off_from_the_first_time_on(kind: Kind) -> None:
    assert [decided(kind, spent).after for spent in range(3)] == [10, 20, 40]


def test_giving_up_is_final_whatever_retries_are_left() -> None:
    assert decided(Kind.GAVE_UP) == Decision(Status.FAILED, 0, 0, error="because")


@pytest.mark.parametrize("kind", [each for each in Kind if each is not Kind.COMPLETED])
def test_a_wish_to_cancel_ends_whatever_did_not_complete(kind: Kind) -> None:
    assert decided(kind, cancel=True).status is Status.CANCELLED


def test_what_completes_first_wins_over_a_wish_to_cancel() -> None:
    assert decided(Kind.COMPLETED, cancel=True).status is Status.COMPLETED


@pytest.mark.parametrize("kind", [Kind.RELEASED, Kind.SNOOZED])
def test_what_is_given_back_or_snoozed_spends_nothing(kind: Kind) -> None:
    answer = decided(kind, spent=3, interrupted=20)
    assert (answer.status, answer.retry_count, answer.interruptions) == (Status.PENDING, 3, 20)


def test_interruptions_are_counted_apart_and_end_after_twenty() -> None:
    last_good = decided(Kind.INTERRUPTED, interrupted=MOST_INTERRUPTIONS - 1)
    assert (last_good.status, last_good.retry_count, last_good.interruptions) == (Status.PENDING, 0, 20)
    ended = decided(Kind.INTERRUPTED, interrupted=MOST_INTERRUPTIONS)
    assert ended.status is Status.FAILED
    assert ended.error == "interrupted 21 times, last: because"


def test_an_interruption_that_the_worker_lived_through_runs_again_at_once_the_first_time_and_then_later_and_later() -> None:
    refused = Outcome(Kind.INTERRUPTED, "a lock", backs_off=True)
    waits = [decide(Counters(0, 3, before, False), refused, PLAIN, Random(before)).after for before in range(20)]
    assert waits[0] == 0.0
    for number, wait in enumerate(waits[1:], 1):
        longest = min(10.0, 0.5 * 2 ** (number - 1))
        assert longest / 2 <= wait <= longest


def test_an_interruption_that_ended_the_worker_runs_again_at_once() -> None:
    assert [decided(Kind.INTERRUPTED, interrupted=before).after for before in range(20)] == [0.0] * 20


@given(counters, outcomes, st.integers())
def test_counters_only_rise_and_by_one_in_all(before: Counters, outcome: Outcome, seed: int) -> None:
    after = decide(before, outcome, RetryPolicy(), Random(seed))
    spent = after.retry_count - before.retry_count
    interrupted = after.interruptions - before.interruptions
    assert (spent, interrupted) in ((0, 0), (1, 0), (0, 1))
    assert spent == 0 or (outcome.kind in SPENDING and after.retry_count <= before.max_retries)


@given(counters, outcomes, st.integers())
def test_a_pending_job_is_put_off_by_a_sane_time_and_a_running_one_never_results(
    before: Counters, outcome: Outcome, seed: int
) -> None:
    after = decide(before, outcome, RetryPolicy(), Random(seed))
    assert after.status is not Status.RUNNING
    assert 0 <= after.after <= max(3600.0, outcome.after)
