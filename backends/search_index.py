"""The index of words over `indexed_files`: which file has which words, kept in each database's own full-text index.

Words come normalised, without punctuation and without anything of Unicode's private use: what a word is, is decided before.
A file has a row here unless it was removed, or was indexed by a release that had no such index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, column, delete, literal_column, select, table, text
from sqlalchemy.engine import Connection

from .dialects import one_writer
from .tables import indexed_files

_PROGRAM, _NAME = "\ue000", "\ue001"
"""What marks the number of the program, and a word of the file's name, among the words: no text has these characters."""

_ON_SQLITE = table("jobqueue_search", column("rowid"))
_ON_POSTGRES = table("jobqueue_search", column("file_id"), column("everything"))


def index_file(
    connection: Connection, program_id: int, file_id: int, name: Sequence[str], path: Sequence[str], words: Sequence[str]
) -> None:
    """Have a file found by the words of its name, its path and its text; `file_id` is the `id` of its row."""
    values = {"file_id": file_id, "label": _label(name, path), "words": [_program_mark(program_id), *words]}
    if one_writer(connection):
        connection.execute(_REPLACE_ON_SQLITE, _joined(values))
    else:
        connection.execute(_REPLACE_ON_POSTGRES, values)


def relabel_file(connection: Connection, file_id: int, name: Sequence[str], path: Sequence[str]) -> None:
    """The file has another name or place, and the text that it had."""
    values = {"file_id": file_id, "label": _label(name, path)}
    if one_writer(connection):
        connection.execute(_RELABEL_ON_SQLITE, _joined(values))
    else:
        connection.execute(_RELABEL_ON_POSTGRES, values)


def unindex_files(connection: Connection, file_ids: Sequence[int]) -> None:
    """Have these files found no more."""
    key = _ON_SQLITE.c.rowid if one_writer(connection) else _ON_POSTGRES.c.file_id
    connection.execute(delete(key.table).where(key.in_(file_ids)))  # type: ignore[arg-type]


def unindexed_files(connection: Connection, program_id: int, after: int, limit: int) -> list[int]:
    """Up to `limit` ids above `after` of the program's files, removed ones aside, that are not in the index."""
    file = indexed_files.c
    key = _ON_SQLITE.c.rowid if one_writer(connection) else _ON_POSTGRES.c.file_id
    statement = (
        select(file.id)
        .where(file.program_id == program_id, file.status != "removed", file.id > after)
        .where(~select(literal_column("1")).where(key == file.id).exists())
        .order_by(file.id)
        .limit(limit)
    )
    return list(connection.execute(statement).scalars())


def matching_files(
    connection: Connection, program_id: int, words: Sequence[str], by_name: bool, before: int | None, limit: int
) -> list[int]:
    """Up to `limit` ids, highest first and below `before`, of the program's files that have all these words.

    With `by_name` those that have all of them in their name, else the others.
    """
    everywhere, in_name = [_program_mark(program_id), *words], [f"{_NAME}{word}" for word in words]
    if one_writer(connection):
        key, found = _ON_SQLITE.c.rowid, text("jobqueue_search MATCH :query")
        query = _fts5([*everywhere, *in_name]) if by_name else f"({_fts5(everywhere)}) NOT ({_fts5(in_name)})"
    else:
        key, found = _ON_POSTGRES.c.file_id, text("everything @@ CAST(:query AS tsquery)")
        query = _tsquery([*everywhere, *in_name]) if by_name else f"{_tsquery(everywhere)} & !({_tsquery(in_name)})"
    return list(connection.execute(_matches(connection, key, found, before, limit), {"query": query}).scalars())


def _matches(connection: Connection, key: Any, found: Any, before: int | None, limit: int) -> Select[Any]:
    # `+ 0`: ordered by the bare key, Postgres may walk through the whole table instead of asking the index.
    order = key if one_writer(connection) else key + literal_column("0")
    statement = select(key).where(found).order_by(order.desc()).limit(limit)
    return statement if before is None else statement.where(key < before)


def _program_mark(program_id: int) -> str:
    """A word for the program; a minus sign would be taken for the end of one."""
    return f"{_PROGRAM}{program_id}".replace("-", "\ue002")


def _fts5(words: Sequence[str]) -> str:
    return " AND ".join(f'"{word}"' for word in words)


def _tsquery(words: Sequence[str]) -> str:
    return " & ".join(f"'{word}'" for word in words)


def _label(name: Sequence[str], path: Sequence[str]) -> list[str]:
    return [*dict.fromkeys([*name, *path]), *(f"{_NAME}{word}" for word in name)]


def _joined(values: dict[str, Any]) -> dict[str, Any]:
    return {key: " ".join(value) if isinstance(value, list) else value for key, value in values.items()}


_REPLACE_ON_SQLITE = text("INSERT OR REPLACE INTO jobqueue_search (rowid, label, words) VALUES (:file_id, :label, :words)")
_RELABEL_ON_SQLITE = text("UPDATE jobqueue_search SET label = :label WHERE rowid = :file_id")
_VECTORS = {name: f"array_to_tsvector(CAST(:{name} AS text[]))" for name in ("label", "words")}
_REPLACE_ON_POSTGRES = text(
    f"INSERT INTO jobqueue_search (file_id, label, words) VALUES (:file_id, {_VECTORS['label']}, {_VECTORS['words']})"
    " ON CONFLICT (file_id) DO UPDATE SET label = excluded.label, words = excluded.words"
)
_RELABEL_ON_POSTGRES = text(f"UPDATE jobqueue_search SET label = {_VECTORS['label']} WHERE file_id = :file_id")
