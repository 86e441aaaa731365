"""What differs between the two databases for the statements of this package."""

from __future__ import annotations

from sqlalchemy import Table, func, select, text
from sqlalchemy.engine import Connection


def pass_over_given_ids(connection: Connection, table: Table) -> None:
    """After rows with given ids: have the next row get an id of its own. SQLite counts from the largest id by itself."""
    if connection.dialect.name == "postgresql":
        largest = connection.scalar(select(func.max(table.c.id)))
        sequence = connection.scalar(select(func.pg_get_serial_sequence(table.fullname, "id")))
        if sequence and largest:
            move = text(f"SELECT setval(:sequence, greatest(:largest, (SELECT last_value FROM {sequence})))")
            connection.execute(move, {"sequence": sequence, "largest": largest})
