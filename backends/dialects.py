"""The named differences between the two databases that are more than a word in a statement."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine

AnyRow = Row[*tuple[Any, ...]]


def one_writer(bind: Engine | Connection) -> bool:
    """True on SQLite, where a writing transaction is the only one: no row locks, no arrays, the host's own clock."""
    return bind.dialect.name == "sqlite"


def insert_for(bind: Engine | Connection, table: Table) -> Any:
    """The dialect's own INSERT, which knows ON CONFLICT."""
    return sqlite.insert(table) if one_writer(bind) else postgresql.insert(table)
