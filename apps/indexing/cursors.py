"""The statements on `jobqueue_drive_cursors`: where `incremental` goes on in a list of changes."""

from __future__ import annotations

from sqlalchemy import delete, select, update
from sqlalchemy.engine import Connection

from backends import drive_cursors, insert_for

cursor = drive_cursors.c


def read(connection: Connection, program_id: int, corpus: str) -> str | None:
    """The cursor to go on from; None if no full scan was completed since there could be one."""
    return connection.scalar(select(cursor.token).where(cursor.program_id == program_id, cursor.corpus == corpus))


def park(connection: Connection, program_id: int, corpus: str, token: str) -> None:
    """Keep the cursor that a full scan starts with; it counts once the scan is complete."""
    insertion = insert_for(connection, drive_cursors).values(program_id=program_id, corpus=corpus, pending_token=token)
    keys = ["program_id", "corpus"]
    connection.execute(insertion.on_conflict_do_update(index_elements=keys, set_={"pending_token": token}))


def promote(connection: Connection, program_id: int, corpus: str) -> None:
    """A full scan is complete: go on from the cursor that it started with."""
    mine = (cursor.program_id == program_id, cursor.corpus == corpus, cursor.pending_token.is_not(None))
    statement = update(drive_cursors).where(*mine).values(token=cursor.pending_token, pending_token=None)
    connection.execute(statement)


def advance(connection: Connection, program_id: int, corpus: str, token: str) -> None:
    """What came before `token` is in rows by now."""
    statement = update(drive_cursors).where(cursor.program_id == program_id, cursor.corpus == corpus)
    connection.execute(statement.values(token=token))


def drop(connection: Connection, program_id: int, corpus: str) -> None:
    """Forget a cursor that is not accepted any more."""
    connection.execute(delete(drive_cursors).where(cursor.program_id == program_id, cursor.corpus == corpus))
