"""Pace: many short jobs at once, long ones alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.workers.jobs import a_job
from workers.pace import LONGEST_PAUSE, MOST_AT_ONCE, WORK_PER_CLAIM, next_size, pause, to_keep


def test_short_jobs_are_claimed_in_ever_larger_batches_up_to_the_most() -> None:
    sizes = [1]
    for _ in range(6):
        sizes.append(next_size(sizes[-1], sizes[-1], 1e-6 * sizes[-1]))
    assert sizes == [1, 4, 16, 64, 256, 512, 512]


def test_one_long_job_brings_the_next_claim_down_to_one() -> None:
    assert next_size(512, 1, 10.0) == 1


def test_a_batch_that_ran_nothing_teaches_nothing() -> None:
    assert next_size(64, 0, 100.0) == 64


@given(st.integers(1, 512), st.integers(0, 512), st.floats(0, 1e6))
def test_a_size_is_always_a_power_of_two_within_bounds(size: int, ran: int, seconds: float) -> None:
    size = 1 << size.bit_length() - 1
    following = next_size(size, ran, seconds)
    assert 1 <= following <= min(MOST_AT_ONCE, 4 * size)
    assert following & (following - 1) == 0


@given(st.integers(1, 512), st.floats(1e-6, 10))
def test_a_claim_holds_no_more_work_than_an_urgent_job_may_wait_for(ran: int, seconds: float) -> None:
    following = next_size(512, ran, seconds)
    assert following == 1 or following * seconds / ran <= WORK_PER_CLAIM * 1.001


def test_jobs_without_a_lane_or_a_past_are_held_together() -> None:
    assert to_keep([a_job(number) for number in range(9)]) == 9
    assert to_keep([]) == 0


def test_a_job_with_a_lane_or_a_past_is_held_alone() -> None:
    odd = (a_job(1, lane="x"), a_job(1, interruptions=1), a_job(1, retry_count=1))
    for each in odd:
        assert to_keep([each]) == 1
        assert to_keep([each, a_job(2)]) == 1
        assert to_keep([a_job(2), a_job(3), each, a_job(4)]) == 2


def test_a_database_that_is_away_is_asked_later_and_later_up_to_a_bound_and_by_each_worker_at_another_time() -> None:
    assert [pause(failures, 30.0, 1.0) for failures in range(1, 7)] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert [pause(failures, 30.0, 0.0) for failures in range(1, 5)] == [0.25, 0.5, 1.0, 2.0]
    assert pause(10_000, 30.0, 1.0) == LONGEST_PAUSE
    assert pause(10_000, 3.0, 1.0) == 0.5, "a worker that waits so long is taken for dead"
