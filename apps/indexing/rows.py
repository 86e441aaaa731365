"""The statements on `indexed_files`, one row per file of a program, and on the texts of those files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import case, delete, func, null, or_, select, update
from sqlalchemy.engine import Connection

from backends import file_texts, index_file, indexed_files, insert_for, now, relabel_file, unindex_files

from .source import Entry
from .text import storable
from .words import words_of

file = indexed_files.c

LONGEST_PATH = 4096
BATCH = 500
"""Rows named by one statement."""

INDEXED, SKIPPED, FAILED, REMOVED = "indexed", "skipped", "failed", "removed"

_KEPT = (
    file.id, file.file_id, file.parent_id, file.name, file.path, file.mime_type, file.size, file.modified_at, file.trashed,
    file.fingerprint, file.content_hash, file.status, file.reason, file.last_seen_job,
)


class Known(NamedTuple):
    """What the table holds of a file, its text aside."""

    id: int
    file_id: str
    parent_id: str | None
    name: str
    path: str
    mime_type: str
    size: int | None
    modified_at: Any
    trashed: bool
    fingerprint: str | None
    content_hash: str | None
    status: str
    reason: str | None
    last_seen_job: int | None


class Content(NamedTuple):
    """The text of a file, whether there was more of it than is kept, and the words by which it is found."""

    text: str
    truncated: bool
    words: Sequence[str]


class Unseen(NamedTuple):
    """A row that the scan has not come by."""

    id: int
    parent_id: str | None
    path: str


def shown(entry: Entry) -> dict[str, Any]:
    """The columns that a listing tells, as they are stored."""
    return {
        "parent_id": storable(entry.parent_id),
        "name": storable(entry.name),
        "path": storable(entry.path)[:LONGEST_PATH],
        "mime_type": storable(entry.mime_type),
        "size": entry.size,
        "modified_at": entry.modified_at,
        "trashed": entry.trashed,
    }


def known(connection: Connection, program_id: int, file_ids: Sequence[str]) -> dict[str, Known]:
    """What is known of these files, by file id."""
    found: dict[str, Known] = {}
    for ids in _batches(file_ids):
        statement = select(*_KEPT).where(file.program_id == program_id, file.file_id.in_(ids))
        found |= {row.file_id: Known._make(row) for row in connection.execute(statement)}
    return found


def touch(connection: Connection, job_id: int, ids: Sequence[int]) -> None:
    """Note that this job saw these rows. A later job's note stays: it must not lose what it saw to an older one."""
    older = or_(file.last_seen_job.is_(None), file.last_seen_job < job_id)
    for each in _batches(ids):
        connection.execute(update(indexed_files).where(file.id.in_(each), older).values(last_seen_job=job_id))


def save(
    connection: Connection, program_id: int, job_id: int, entry: Entry, values: Mapping[str, Any],
    content: Content | None = None,
) -> None:
    """Insert or update the row of one file: what its listing tells, and `values`. Its text becomes `content`, or none."""
    row = {**shown(entry), "last_seen_job": job_id, **values}
    insertion = insert_for(connection, indexed_files).values(program_id=program_id, file_id=storable(entry.file_id), **row)
    latest = case((file.last_seen_job > job_id, file.last_seen_job), else_=job_id)
    saving = insertion.on_conflict_do_update(
        index_elements=["program_id", "file_id"], set_={**row, "last_seen_job": latest}
    )
    number = connection.execute(saving.returning(file.id)).scalar_one()
    if content is None:
        _drop_texts(connection, [number])
    else:
        _write_text(connection, number, content)
    words = content.words if content else ()
    index_file(connection, program_id, number, *label_words(row["name"], row["path"]), words)


def label_words(name: str, path: str) -> tuple[list[str], list[str]]:
    """The words by which a file is found whatever its text is: those of its name, and those of its path."""
    return words_of(name[:LONGEST_PATH]), words_of(path)


def _write_text(connection: Connection, number: int, content: Content) -> None:
    written = {"content": content.text, "content_truncated": content.truncated}
    insertion = insert_for(connection, file_texts).values(file_id=number, **written)
    connection.execute(insertion.on_conflict_do_update(index_elements=["file_id"], set_=written))


def _drop_texts(connection: Connection, ids: Sequence[int]) -> None:
    connection.execute(delete(file_texts).where(file_texts.c.file_id.in_(ids)))


def describe(connection: Connection, job_id: int, row: Known, entry: Entry, **values: Any) -> None:
    """Bring what a listing tells up to date, and `values`; the text stays."""
    latest = case((file.last_seen_job > job_id, file.last_seen_job), else_=job_id)
    changed = {**shown(entry), **values, "last_seen_job": latest}
    if (row.name, row.path) != (changed["name"], changed["path"]):
        relabel_file(connection, row.id, *label_words(changed["name"], changed["path"]))
    connection.execute(update(indexed_files).where(file.id == row.id).values(**changed))


def with_content(content_hash: str, fingerprint: str | None, reason: str | None) -> dict[str, Any]:
    """The columns of a file whose text was read."""
    return {
        "status": INDEXED, "reason": reason, "fingerprint": fingerprint, "content_hash": content_hash, "indexed_at": now(),
    }


def without_content(status: str, reason: str, fingerprint: str | None = None) -> dict[str, Any]:
    """The columns of a file that has no text here, and why."""
    return {"status": status, "reason": storable(reason), "fingerprint": fingerprint, **_EMPTY}


_EMPTY = {"content_hash": null(), "indexed_at": null()}


def remove(connection: Connection, ids: Sequence[int], reason: str) -> int:
    """Mark rows as removed, and drop their text; returns how many were not so before."""
    gone = 0
    for each in _batches(ids):
        statement = update(indexed_files).where(file.id.in_(each), file.status != REMOVED)
        gone += connection.execute(statement.values(without_content(REMOVED, reason))).rowcount
        _drop_texts(connection, each)
        unindex_files(connection, each)
    return gone


def unseen(connection: Connection, program_id: int, job_id: int, after: int) -> list[Unseen]:
    """Up to `BATCH` rows, with ids above `after`, of files that neither this job nor a later one has seen."""
    older = or_(file.last_seen_job.is_(None), file.last_seen_job < job_id)
    statement = (
        select(file.id, file.parent_id, file.path)
        .where(file.program_id == program_id, file.status != REMOVED, older, file.id > after)
        .order_by(file.id)
        .limit(BATCH)
    )
    return [Unseen._make(row) for row in connection.execute(statement)]


def forget_sightings(connection: Connection, program_id: int, job_id: int) -> bool:
    """Undo what an earlier attempt of this job noted, `BATCH` rows at a time; False once there is nothing left of it."""
    noted = select(file.id).where(file.program_id == program_id, file.last_seen_job == job_id).limit(BATCH)
    ids = list(connection.execute(noted).scalars())
    if ids:
        connection.execute(update(indexed_files).where(file.id.in_(ids)).values(last_seen_job=None))
    return bool(ids)


def unread(connection: Connection, program_id: int, after: int) -> list[Known]:
    """Up to `BATCH` failed rows, with ids above `after`, that are worth reading again."""
    statement = (
        select(*_KEPT)
        .where(file.program_id == program_id, file.status == FAILED, file.fingerprint.is_(None), file.id > after)
        .order_by(file.id)
        .limit(BATCH)
    )
    return [Known._make(row) for row in connection.execute(statement)]


def number_of_files(connection: Connection, program_id: int) -> int:
    """How many files of the program are there, as far as is known."""
    statement = select(func.count()).where(file.program_id == program_id, file.status != REMOVED)
    return connection.scalar(statement) or 0


def has_files_in(connection: Connection, program_id: int, folder_id: str) -> bool:
    """Whether files directly in that folder are known."""
    statement = select(file.id).where(file.program_id == program_id, file.parent_id == folder_id, file.status != REMOVED)
    return connection.execute(statement.limit(1)).first() is not None


T = TypeVar("T")


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
