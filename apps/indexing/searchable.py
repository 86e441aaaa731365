"""Making files found that are in the tables already, from the text that is kept of them."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.engine import Connection

from backends import file_texts, index_file, indexed_files, unindexed_files

from .rows import label_words
from .words import words_of

AT_ONCE = 20
"""Files that share a transaction: their texts may take megabytes each."""


def index_older(connection: Connection, program_id: int, after: int) -> int | None:
    """Put some files, with ids above `after`, into the index that lacks them; returns where to go on, None when done."""
    file = indexed_files.c
    ids = unindexed_files(connection, program_id, after, AT_ONCE)
    columns = select(file.id, file.name, file.path, file_texts.c.content).outerjoin(file_texts)
    for row in connection.execute(columns.where(file.id.in_(ids))):
        index_file(connection, program_id, row.id, *label_words(row.name, row.path), words_of(row.content or ""))
    return ids[-1] if len(ids) == AT_ONCE else None
