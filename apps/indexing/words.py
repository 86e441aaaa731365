"""What a word is: the same for files and for queries, and on both databases, whose own ideas of it differ."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

LONGEST_WORD = 64
"""Characters of a word that count; longer ones are taken to be the same if they begin alike."""

MOST_BYTES = 900_000
"""Bytes that the different words of one text may take; what comes after them is not found. Postgres takes 1 MiB in all."""

PIECE = 50_000
"""Characters looked at in one go."""

_WORD = re.compile(r"[^\W_]{1,200}")
_GAP = re.compile(r"[\W_]")
_UNSPACED = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+)")
"""Chinese and Japanese, which put no spaces between words."""


def words_of(text: str) -> list[str]:
    """The different words of a text in their order: runs of letters and digits, without case, accents and ligatures.

    Of writing without spaces: each character, and each pair of neighbours.
    """
    found: dict[str, None] = {}
    left = MOST_BYTES
    for piece in _pieces(unicodedata.normalize("NFC", text)):
        new = [word for word in _words_in(piece) if word not in found]
        left -= len("".join(new).encode())
        if left < 0:
            break
        found.update(dict.fromkeys(new))
    return list(found)


def _words_in(piece: str) -> Iterable[str]:
    if piece.isascii():  # three times as fast
        return dict.fromkeys(word[:LONGEST_WORD] for word in _WORD.findall(piece.lower()))
    return dict.fromkeys(word for raw in dict.fromkeys(_WORD.findall(piece)) for word in _spelled(raw, every_part=True))


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces that end between words: the list of all words of a long one would take ten times its memory."""
    start = 0
    while start < len(text):
        gap = _GAP.search(text, start + PIECE)
        end = gap.start() if gap else len(text)
        yield text[start:end]
        start = end


def sought_words(query: str) -> list[str]:
    """The words that a file must have for this query; each is one that `words_of` finds in a text with that word."""
    raw = _WORD.findall(unicodedata.normalize("NFC", query))
    return list(dict.fromkeys(word for each in raw for word in _spelled(each, every_part=False)))


@lru_cache(20_000)
def _spelled(word: str, every_part: bool) -> Sequence[str]:
    if word.isascii():
        return (word.lower()[:LONGEST_WORD],)
    bare = "".join(letter for letter in unicodedata.normalize("NFKD", word).casefold() if not unicodedata.combining(letter))
    parts: list[str] = []
    for plain in _WORD.findall(unicodedata.normalize("NFKC", bare)):
        for index, piece in enumerate(_UNSPACED.split(plain)):
            parts += _pairs(piece, every_part) if index % 2 else [piece[:LONGEST_WORD]] if piece else []
    return parts


def _pairs(run: str, every_part: bool) -> list[str]:
    pairs = [run[at : at + 2] for at in range(len(run) - 1)]
    return [*run, *pairs] if every_part else pairs or [run]
