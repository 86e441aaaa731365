"""How commands word times and durations, and how they read what was typed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from . import output
from .problems import usage

if TYPE_CHECKING:
    from backends import JobView


def span(seconds: float) -> str:
    """A duration in its two largest units: `12s`, `3m 5s`, `3h 12m`, `2d 4h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    for unit, name, smaller, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit}{name} {rest}{small_name}" if rest else f"{whole // unit}{name}"
    return f"{whole}s"


def read_duration(typed: str, option: str) -> float:
    """Seconds from `250ms`, `30s`, `1h30m`, `7d` or bare seconds; a usage error otherwise."""
    from config import BadDuration, parse_duration

    try:
        return parse_duration(typed)
    except BadDuration as error:
        raise usage(f"{option}: {error}", error.hint, "BAD-DURATION") from None


def read_moment(typed: str, option: str) -> datetime:
    """An aware time from ISO 8601; one without a zone is in this machine's. A usage error otherwise."""
    try:
        moment = datetime.fromisoformat(typed)
    except ValueError:
        raise usage(
            f"{option}: {typed!r} is not a time",
            "Write ISO 8601, as in 2026-11-24T09:30:00+01:00 or 2026-11-24T08:30Z.",
            "BAD-TIME",
        ) from None
    return moment if moment.tzinfo else moment.astimezone()


def read_pairs(typed: Sequence[str], option: str) -> dict[str, Any]:
    """`name=value` words as a mapping; a value that is JSON is read as JSON, any other is text. A usage error otherwise."""
    pairs: dict[str, Any] = {}
    for word in typed:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise usage(
                f"{option}: {word!r} is not name=value", f"Write {option} depth=3 or {option} name=text.", "BAD-PARAM"
            )
        if name in pairs:
            raise usage(
                f"{option}: {name!r} is given twice",
                "Give each name once; a list is written as JSON: name=[1,2].",
                "BAD-PARAM",
            )
        pairs[name] = _read_value(value)
    return pairs


def _read_value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except ValueError:
        return text


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def sentences(reasons: Sequence[str]) -> str:
    """What a job waits for, on one line."""
    return "; ".join(reasons)


def how_far(job: JobView) -> str:
    """A job's progress: `3/10 30%`, `3` when the total is unknown, `-` before anything was done."""
    if job.total_files:
        return f"{job.processed_files}/{job.total_files} {100 * job.processed_files // job.total_files}%"
    return str(job.processed_files) if job.processed_files else "-"


def when(moment: datetime | None) -> str:
    """A moment: how long ago on a terminal, ISO 8601 in a pipe."""
    if moment is None or not output.for_people():
        return output.plain(moment)
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"
