"""When a dead worker's place is filled again, and when that is useless."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as some

from supervisor.restarts import RestartPolicy, recent, spent, start_after

POLICY = RestartPolicy(initial=1.0, most=8.0, budget=4, window=60.0)


def test_the_first_restart_is_immediate() -> None:
    assert start_after([], POLICY, Random(1)) == 0.0
    assert start_after([50.0], POLICY, Random(1)) <= 50.0


def test_each_further_death_doubles_the_pause_up_to_the_longest() -> None:
    for deaths, pause in [(2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (50, 8.0)]:
        after = start_after([10.0] * deaths, POLICY, Random(1)) - 10.0
        assert pause / 2 <= after <= pause


def test_deaths_are_forgotten_after_the_window() -> None:
    assert recent([1.0, 50.0], POLICY, 61.0) == [50.0]


def test_a_place_that_keeps_dying_spends_the_budget() -> None:
    assert not spent([[1.0, 2.0, 3.0, 4.0]], POLICY, 5.0)
    assert spent([[1.0, 2.0, 3.0, 4.0, 5.0]], POLICY, 5.0)
    assert not spent([[1.0, 2.0, 3.0, 4.0, 5.0]], POLICY, 62.0)


def test_killing_every_worker_of_a_large_pool_once_is_no_crash_loop() -> None:
    assert not spent([[1.0]] * 100, POLICY, 2.0)


@given(some.lists(some.floats(0, 1e6), max_size=80), some.integers(0, 2**32))
def test_a_pause_is_never_longer_than_the_longest(deaths: list[float], seed: int) -> None:
    deaths = sorted(deaths)
    assert start_after(deaths, POLICY, Random(seed)) <= (deaths[-1] if deaths else 0.0) + POLICY.most
