"""How long a failed job waits."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.backoff import JITTERS, SHAPES, RetryPolicy, ceiling, delay

policies = st.builds(
    RetryPolicy,
    backoff=st.sampled_from(SHAPES),
    initial=st.floats(0, 1e6),
    factor=st.floats(1, 100),
    max=st.floats(0, 1e6),
    jitter=st.sampled_from(JITTERS),
)


def test_the_usual_policy_doubles_from_ten_seconds_up_to_an_hour() -> None:
    longest = [ceiling(RetryPolicy(), number) for number in range(1, 12)]
    assert longest == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]


@pytest.mark.parametrize(
    ("shape", "waits"), [("none", [0, 0, 0]), ("constant", [10, 10, 10]), ("linear", [10, 20, 30])]
)
def test_each_shape_grows_in_its_own_way(shape: str, waits: list[float]) -> None:
    assert [ceiling(RetryPolicy(backoff=shape), number) for number in (1, 2, 3)] == waits


def test_without_jitter_the_wait_is_the_ceiling() -> None:
    policy = RetryPolicy(jitter="none")
    assert delay(policy, 3, Random(1)) == ceiling(policy, 3)


@given(policies, st.integers(1, 10_000), st.integers())
def test_a_wait_is_never_negative_nor_longer_than_the_maximum(policy: RetryPolicy, number: int, seed: int) -> None:
    assert 0 <= delay(policy, number, Random(seed)) <= policy.max


@given(policies, st.integers(1, 1000))
def test_a_later_retry_never_has_a_lower_ceiling(policy: RetryPolicy, number: int) -> None:
    assert ceiling(policy, number) <= ceiling(policy, number + 1)


@given(st.integers(1, 50), st.integers())
def test_equal_jitter_waits_at_least_half_the_ceiling(number: int, seed: int) -> None:
    policy = RetryPolicy(jitter="equal")
    assert delay(policy, number, Random(seed)) >= ceiling(policy, number) / 2


def test_full_jitter_spreads_over_the_whole_range() -> None:
    random = Random(7)
    waits = [delay(RetryPolicy(), 1, random) for _ in range(500)]
    assert min(waits) < 1
    assert max(waits) > 9
