"""Durations as people write them, `250ms`, `30s`, `5m`, `1h30m`, `7d` or bare seconds, and as floats of seconds."""

from __future__ import annotations

import math
import re
from decimal import Decimal

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LONGEST = 36_500 * DAY

UNITS = {"d": Decimal(86_400), "h": Decimal(3_600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001")}
_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,9})?"
_WRITTEN = re.compile("".join(f"(?:(?P<{unit}>{_NUMBER}){unit})?" for unit in UNITS))
_BARE = re.compile(_NUMBER)
_CLOCK = re.compile(r"([0-9]{1,3}):([0-9]{2})(?::([0-9]{2}))?")
_FORMS = "write it like 250ms, 30s, 5m, 1h30m, 7d, or as bare seconds"


class BadDuration(ValueError):
    """This is not a duration; `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = _FORMS) -> None:
        super().__init__(message)
        self.hint = hint


def parse_duration(value: object) -> float:
    """Seconds from a number of seconds or a text such as `1h30m`; from 0 to 100 years. Raises `BadDuration`."""
    if isinstance(value, str):
        seconds: float = _seconds_in(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    else:
        raise BadDuration("a duration is a number or a text")
    if seconds != seconds or seconds in (math.inf, -math.inf):
        raise BadDuration(f"{value} is not a duration")
    if seconds < 0:
        raise BadDuration(f"a duration cannot be negative: {value}")
    if seconds > LONGEST:
        raise BadDuration("a duration cannot be longer than 36500d")
    return float(seconds)


def format_duration(seconds: float) -> str:
    """The shortest writing of `seconds` that `parse_duration` reads back as the same number."""
    exact = Decimal(repr(float(seconds)))
    if exact % UNITS["ms"]:
        return f"{exact:f}s"
    if 0 < exact < 1:
        return f"{int(exact / UNITS['ms'])}ms"
    if exact % 1:
        return f"{exact.normalize():f}s"
    return _in_whole_units(int(exact)) or "0s"


def _in_whole_units(rest: int) -> str:
    written = ""
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(UNITS[unit]))
        written += f"{count}{unit}" if count else ""
    return written


def _seconds_in(text: str) -> float:
    if _BARE.fullmatch(text):
        return float(text)
    if text.startswith("-"):
        raise BadDuration(f"a duration cannot be negative: {text[:40]!r}")
    match = _WRITTEN.fullmatch(text)
    if match is None or not text:
        raise BadDuration(f"{text[:40]!r} is not a duration", _advice(text))
    return float(sum((Decimal(count) * UNITS[unit] for unit, count in match.groupdict().items() if count), Decimal(0)))


def _advice(text: str) -> str:
    clock = _CLOCK.fullmatch(text)
    if clock and clock[3]:
        return f"it looks like a time of day; for a duration write {int(clock[1])}h{int(clock[2])}m{int(clock[3])}s"
    if clock:
        first, second = int(clock[1]), int(clock[2])
        return f"it looks like a time of day; for a duration write {first}h{second}m or {first}m{second}s"
    plain = re.sub(r"\s+", "", text.lower())
    plain = re.sub(r"(?<=[0-9])(milli|sec|min|hour|hr|day)[a-z]*", lambda word: _SHORT[word[1]], plain)
    if plain != text and _WRITTEN.fullmatch(plain):
        return f"did you mean '{plain}'?"
    return _FORMS


_SHORT = {"milli": "ms", "sec": "s", "min": "m", "hour": "h", "hr": "h", "day": "d"}
