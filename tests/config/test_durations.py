from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import BadDuration, format_duration, parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("250ms", 0.25), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("7d", 604_800), (5, 5), (0.5, 0.5), ("45", 45),
        ("1.5h", 5400), ("1d2h3m4s5ms", 93_784.005), (0, 0), ("0s", 0),
    ],
)  # fmt: skip
def test_durations_are_read(written: Any, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("12:30", "it looks like a time of day; for a duration write 12h30m or 12m30s"),
        ("1:02:03", "it looks like a time of day; for a duration write 1h2m3s"),
        ("5 minutes", "did you mean '5m'?"),
        ("1 hour 5 sec", "did you mean '1h5s'?"),
        ("5M", "did you mean '5m'?"),
        ("30m1h", "write it like"),
        ("1w", "write it like"),
        ("", "write it like"),
        ("s", "write it like"),
        ("٣s", "write it like"),
        ("9" * 10_000, "write it like"),
    ],
)
def test_other_writings_are_refused_with_advice(written: str, hint: str) -> None:
    with pytest.raises(BadDuration) as caught:
        parse_duration(written)
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize("value", [-1, -0.5, "-3s", float("nan"), float("inf"), True, None, [], "36501d", 10**400])
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(BadDuration):
        parse_duration(value)


@given(st.integers(0, 36_500 * 86_400 * 1000))
def test_every_whole_millisecond_survives_being_written(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text(max_size=12) | st.from_regex(r"[0-9]{1,3}[dhms]{1,3}([0-9]{1,2}[a-z]{1,2})?", fullmatch=True))
def test_any_text_is_a_duration_from_nothing_to_a_century_or_refused(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except BadDuration:
        return
    assert 0 <= seconds <= 36_500 * 86_400
