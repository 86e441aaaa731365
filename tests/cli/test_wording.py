"""How durations, times and pairs are read and worded."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from supervisor.commands.output import plain
from supervisor.commands.problems import Problem
from supervisor.commands.wording import read_moment, read_pairs, span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (59.6, "1m"), (65, "1m 5s"), (3600, "1h"), (11_520, "3h 12m"), (180_000, "2d 2h"), (-3, "0s")],
)
def test_a_span_is_its_two_largest_units(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_a_time_with_a_zone_is_that_time() -> None:
    assert read_moment("2026-11-24T09:30:00+01:00", "--at") == datetime(2026, 11, 24, 8, 30, tzinfo=UTC)


def test_a_time_without_a_zone_is_in_that_of_this_machine() -> None:
    assert read_moment("2026-11-24T09:30", "--at") == datetime(2026, 11, 24, 9, 30).astimezone()


def test_a_name_that_is_given_twice_is_refused() -> None:
    with pytest.raises(Problem, match="'depth' is given twice"):
        read_pairs(["depth=1", "depth=2"], "--param")


def test_a_value_may_contain_an_equals_sign() -> None:
    assert read_pairs(["query=a=b"], "--param") == {"query": "a=b"}


def test_text_stays_on_its_line_and_cannot_steer_a_terminal() -> None:
    assert plain("a\tb\nc\x1b[31m\x9b\x7f") == "a\\tb\\nc\\x1b[31m\\x9b\\x7f"
