"""What a job's parameters may be: one rule for every way by which they are given, and for both databases."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .job import BadParameters

LARGEST_PARAMETERS = 1_000_000
"""Bytes of JSON that a job's parameters may take."""

DEEPEST = 64
"""Lists and objects within each other; every reader of JSON can follow that far."""

LARGEST_NUMBER = 2**63 - 1
"""Whole numbers beyond this, or below its negative, are not the same for every reader of JSON."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def parameters_text(parameters: Mapping[str, Any]) -> str | None:
    """Parameters as JSON text that both databases store alike; None when there are none.

    Raises `BadParameters` for what is not JSON, NaN and infinities, NUL, lone surrogates, keys that are no text, numbers
    beyond 64 bits, more than `DEEPEST` levels, or more than `LARGEST_PARAMETERS`.
    """
    if not parameters:
        return None
    given = dict(parameters)
    _check(given, 1)
    try:
        text = json.dumps(given, ensure_ascii=False, allow_nan=False)
        size = len(text.encode("utf-8"))
    except (TypeError, ValueError) as error:
        raise BadParameters(f"job parameters cannot be stored as JSON: {error}") from None
    if "\\u0000" in text and _NUL.search(text):
        raise BadParameters("job parameters contain a NUL character, which Postgres cannot store")
    if size > LARGEST_PARAMETERS:
        raise BadParameters(f"job parameters take {size} bytes as JSON; at most {LARGEST_PARAMETERS} are allowed")
    return text


def _check(value: Any, depth: int) -> None:
    """Go no deeper than is allowed, so that nothing can send this into endless recursion."""
    if isinstance(value, int) and not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
        raise BadParameters("job parameters contain a whole number beyond 64 bits; write it as text")
    if not isinstance(value, dict | list | tuple):
        return
    if depth > DEEPEST:
        raise BadParameters(f"job parameters are nested more than {DEEPEST} levels deep")
    if isinstance(value, dict):
        _check_keys(value)
    for part in value.values() if isinstance(value, dict) else value:
        _check(part, depth + 1)


def _check_keys(value: dict[Any, Any]) -> None:
    for key in value:
        if not isinstance(key, str):
            raise BadParameters(f"job parameters have the key {key!r:.40}, which is no text; write it as text")
