"""Search: the files of a program in whose name, path or text all words of a query occur."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from backends import EVERYTHING, Scope, file_texts, indexed_files, matching_files

from .indexing.words import sought_words

LONGEST_QUERY = 1_000
MOST_WORDS = 50
MOST_RESULTS = 100

LOOKED_INTO = 50_000
"""Characters at the beginning of a text among which a snippet is sought."""

SNIPPET = 160
"""Characters of a snippet, about."""

file = indexed_files.c


class BadQuery(ValueError):
    """A query, limit or cursor that cannot be answered; the message says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that has all the words. `snippet` is plain text, to be escaped where it is shown as markup; empty without a text."""

    file_id: str
    name: str
    path: str
    mime_type: str
    modified_at: datetime | None
    snippet: str

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON types: the time in ISO 8601."""
        return {**asdict(self), "modified_at": self.modified_at and self.modified_at.astimezone(UTC).isoformat()}


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Some results. The next ones are asked for with `next_cursor`; None: there are none."""

    results: list[Found]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page begins: among those found by name or the others, below an id."""

    by_name: bool
    before: int | None


def search_files(
    connection: Connection,
    program_id: int,
    query: str,
    limit: int = 20,
    cursor: str | None = None,
    scope: Scope = EVERYTHING,
) -> SearchPage:
    """At most `limit` files of the program, those first that have all the words in their name; among equals the newest first.

    Words are runs of letters and digits; case, accents and everything else do not count, so that no query is malformed. A word
    is found as a whole; in Chinese and Japanese each pair of characters is. Nothing is found in a program outside the scope.
    Raises `BadQuery`.
    """
    words, place = _words(query), _place(cursor)
    if not 1 <= limit <= MOST_RESULTS:
        raise BadQuery(f"a page holds 1 to {MOST_RESULTS} results, not {limit}")
    ids, following = _matching(connection, program_id, words, place, limit)
    found = _found(connection, program_id, ids, words, scope)
    return SearchPage([found[each] for each in ids if each in found], following)


def _words(query: str) -> list[str]:
    if len(query) > LONGEST_QUERY:
        raise BadQuery(f"the query has {len(query)} characters; at most {LONGEST_QUERY} are allowed")
    words = sought_words(query)
    if not words:
        raise BadQuery("the query holds no word: write at least one letter or digit")
    if len(words) > MOST_WORDS:
        raise BadQuery(f"the query holds {len(words)} words; at most {MOST_WORDS} are allowed")
    return words


def _place(cursor: str | None) -> _Place:
    if cursor is None:
        return _Place(True, None)
    match = re.fullmatch(r"([nt])([1-9][0-9]{0,17})?", cursor, re.ASCII)
    if match is None:
        raise BadQuery("the cursor is not one that a search gave; leave it out to begin again")
    return _Place(match[1] == "n", int(match[2]) if match[2] else None)


def _matching(
    connection: Connection, program_id: int, words: Sequence[str], place: _Place, limit: int
) -> tuple[list[int], str | None]:
    """Ids in the order of the results, and the cursor of what follows: one more is asked for than is shown."""
    ids = matching_files(connection, program_id, words, place.by_name, place.before, limit + 1)
    if len(ids) > limit:
        return ids[:limit], f"{'n' if place.by_name else 't'}{ids[limit - 1]}"
    if not place.by_name:
        return ids, None
    others = matching_files(connection, program_id, words, False, None, limit + 1 - len(ids))
    shown = others[: limit - len(ids)]
    following = None if len(shown) == len(others) else f"t{shown[-1] if shown else ''}"
    return [*ids, *shown], following


def _found(
    connection: Connection, program_id: int, ids: Sequence[int], words: Sequence[str], scope: Scope
) -> dict[int, Found]:
    beginning = func.substr(file_texts.c.content, 1, LOOKED_INTO)
    statement = (
        select(file.id, file.file_id, file.name, file.path, file.mime_type, file.modified_at, beginning.label("text"))
        .outerjoin(file_texts)
        .where(file.id.in_(ids), file.program_id == program_id, scope.holds_for(file.program_id))
    )
    return {
        row.id: Found(row.file_id, row.name, row.path, row.mime_type, row.modified_at, snippet(row.text or "", words))
        for row in connection.execute(statement)
    }


def snippet(text: str, words: Sequence[str]) -> str:
    """The part of a text around the first of the words that stands in it as it is written; else its beginning."""
    spelled = "|".join(re.escape(word) for word in words)
    match = re.search(rf"(?<![^\W_])(?:{spelled})(?![^\W_])", text, re.IGNORECASE) or re.search(spelled, text, re.IGNORECASE)
    middle = match.start() if match else 0
    start = max(0, middle - SNIPPET // 2)
    piece = text[start : start + SNIPPET]
    if start:
        piece = re.sub(r"^\S{0,30}\s", "", piece, count=1)
    words_only = " ".join(piece.split())
    return ("…" if start else "") + words_only + ("…" if start + SNIPPET < len(text) else "")
