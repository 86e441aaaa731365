"""What an attempt has read in confidence, so that nothing of it stands in what the attempt leaves behind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
SHORTEST_PART = 8
"""Characters of a part of a secret (a line of a key, a value in a JSON text) from which on it is taken for secret by itself."""

_known: set[str] = set()
_pattern: re.Pattern[str] | None = None


def remember(secret: str) -> None:
    """From now on, until `forget`, this secret is scrubbed from what this process says."""
    global _pattern
    _known.update(each for part in _parts(secret) for each in _spellings(part) if each)
    _pattern = re.compile("|".join(re.escape(each) for each in sorted(_known, key=len, reverse=True))) if _known else None


def forget() -> None:
    """The attempt is over, and with it the reason to know its secrets."""
    global _pattern
    _known.clear()
    _pattern = None


def scrub(text: str) -> str:
    """The text with `***` in place of every secret that is remembered."""
    return _pattern.sub(MASK, text) if _pattern else text


def _parts(secret: str) -> Iterator[str]:
    yield secret
    for line in secret.splitlines():
        if len(line.strip()) >= SHORTEST_PART:
            yield line.strip()
    if secret.lstrip().startswith(("{", "[")):
        try:
            yield from _texts(json.loads(secret))
        except (ValueError, RecursionError):
            return


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
    elif isinstance(value, str) and len(value) >= SHORTEST_PART:
        yield from _parts(value) if not value.lstrip().startswith(("{", "[")) else (value,)


def _spellings(text: str) -> set[str]:
    """As it is, and as it looks inside of JSON, of a `repr` and of a URL; and all of these in a JSON log line."""
    safe = text.encode("utf-8", "replace")
    encoded = {encode(safe, safe=kept) for encode in (quote, quote_plus) for kept in ("", "/")}
    once = {text, repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], *encoded}
    return once | {json.dumps(each)[1:-1] for each in once}
