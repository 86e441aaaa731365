"""Bytes to text, for content that is text already."""

from __future__ import annotations

import codecs
from typing import BinaryIO

from .text import storable

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""UTF-32 stands before UTF-16, whose mark begins with the same bytes."""


def decoded(content: BinaryIO, most: int, hint: str | None = None) -> tuple[str, bool]:
    """Up to `most` characters of the text, and whether there was more.

    The mark at the start decides, then UTF-8 if it is without fault, then the charset `hint`, then Windows-1252.
    """
    content.seek(0)
    raw = content.read(4 * most + 8)
    more = bool(content.read(1))
    text = _text(raw, more, hint)
    return storable(text[:most]), more or len(text) > most


def _text(raw: bytes, more: bool, hint: str | None) -> str:
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return _decode(raw[len(mark) :], encoding, "replace", more)
    try:
        return _decode(raw, "utf-8", "strict", more)
    except UnicodeDecodeError:
        return _decode(raw, _known(hint) or "cp1252", "replace", more)


def _decode(raw: bytes, encoding: str, errors: str, more: bool) -> str:
    """Decode; when there is more, what `raw` cuts in the middle at its end is no fault."""
    return codecs.getincrementaldecoder(encoding)(errors).decode(raw, final=not more)


def _known(hint: str | None) -> str | None:
    """The hinted charset if it is one that makes text of bytes."""
    try:
        "".encode(hint or "")
        b"".decode(hint or "")
    except (LookupError, ValueError):
        return None
    return hint
