"""The named differences between the two databases that are more than a word in a statement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Row, Table, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine

AnyRow = Row[*tuple[Any, ...]]


def one_writer(bind: Engine | Connection) -> bool:
    """True on SQLite, where a writing transaction is the only one: no row locks, no arrays, the host's own clock."""
    return bind.dialect.name == "sqlite"


def insert_for(bind: Engine | Connection, table: Table) -> Any:
    """The dialect's own INSERT, which knows ON CONFLICT."""
    return sqlite.insert(table) if one_writer(bind) else postgresql.insert(table)


@contextmanager
def along_indexes(connection: Connection) -> Iterator[None]:
    """Statements with a LIMIT walk an index in its order. Where Postgres believes that there are few rows, it would gather all of
    them and sort them, and there may be a million."""
    if one_writer(connection):
        yield
        return
    connection.execute(text("SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off"))
    yield
    connection.execute(text("SET LOCAL enable_sort = DEFAULT; SET LOCAL enable_bitmapscan = DEFAULT"))


def check_at_once(connection: Connection) -> None:
    """Have this transaction's statements checked one by one, also where a constraint asks for that at the commit alone.

    Postgres only: SQLite has no word for it.
    """
    if not one_writer(connection):
        connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
