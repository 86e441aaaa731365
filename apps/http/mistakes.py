"""What is wrong with a request, worded for whoever sent it: where, what, and how to mend it; never what was sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

MOST = 20
"""Mistakes that are listed; more are not looked at by anybody."""

LONGEST = 100
"""Characters of a key that are repeated."""


class Mistake(NamedTuple):
    """One mistake. `where` is dotted: `body.priority`, `query.limit`, `path.job_id`."""

    where: str
    what: str
    fix: str


def mistakes_of(errors: Iterable[Mapping[str, Any]]) -> list[Mistake]:
    """The mistakes that pydantic found."""
    return [_mistake(error) for error, _ in zip(errors, range(MOST), strict=False)]


def _mistake(error: Mapping[str, Any]) -> Mistake:
    kind = error["type"]
    if kind == "json_invalid":
        return Mistake("body", f"not JSON: {error['ctx']['error']}", "Send one JSON object in UTF-8.")
    # Where the whole body was refused for its kind, FastAPI knows nothing but that.
    what = str(error["msg"]).removeprefix("Value error, ")
    return Mistake(_where(error["loc"]), what, FIXES.get(kind, "See /docs for what is expected."))


def _where(place: Iterable[Any]) -> str:
    return ".".join(str(step)[:LONGEST] for step in place)


FIXES = {
    "missing": "Give it.",
    "extra_forbidden": "Leave it out, or look for a slip in its name.",
    "int_type": "Give a whole number.",
    "int_parsing": "Give a whole number.",
    "int_from_float": "Give a whole number.",
    "string_type": "Give a text.",
    "string_too_short": "Give a longer text.",
    "string_too_long": "Give a shorter text.",
    "dict_type": "Give a JSON object.",
    "model_attributes_type": "Send a JSON object with `Content-Type: application/json`.",
    "enum": "Give one of these.",
    "literal_error": "Give one of these.",
    "less_than": "Give a number within the range.",
    "greater_than_equal": "Give a number within the range.",
    "less_than_equal": "Give a number within the range.",
    "timezone_aware": "End it with Z, or with an offset such as +02:00.",
    "datetime_parsing": "Write it like 2024-01-01T10:00:00Z.",
    "datetime_type": "Write it like 2024-01-01T10:00:00Z.",
    "datetime_from_date_parsing": "Write it like 2024-01-01T10:00:00Z.",
    "value_error": "Give what the message asks for.",
}
"""What to do about each kind of mistake."""
