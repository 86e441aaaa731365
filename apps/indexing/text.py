"""Text as both databases can store it."""

from __future__ import annotations

from typing import overload


@overload
def storable(text: str) -> str: ...
@overload
def storable(text: str | None) -> str | None: ...
def storable(text: str | None) -> str | None:
    """`text` without NUL characters, which Postgres refuses, and lone surrogates, which no driver can encode."""
    if text is None:
        return None
    return text.replace("\0", "").encode("utf-8", "ignore").decode("utf-8")
