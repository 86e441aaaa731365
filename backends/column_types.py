"""The types of columns that the two databases keep in different ways, and how what stands in them is read.

Any program may write into the queue, and neither database keeps it from writing what Python cannot hold: every reader goes
through here, so that one such value is shown as the nearest that there is, and fails nobody.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, DateTime, Integer, String, Text, cast
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

EARLIEST, LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""What is read of times before and after these, infinity among them. A day is left for every time zone."""

UNREADABLE = datetime(1970, 1, 1, tzinfo=UTC)
"""What is read of a text that is no time."""


def within_reach(moment: datetime) -> datetime:
    """The moment, or the nearest with which Python can reckon in every time zone."""
    return moment if 1 < moment.year < 9999 else max(EARLIEST, min(LATEST, moment))


def moment_text(moment: datetime) -> str:
    """An aware datetime in the one text form kept on SQLite: UTC, microseconds, sortable as text."""
    return moment.astimezone(UTC).isoformat(sep=" ", timespec="microseconds")


class Moment(TypeDecorator[datetime]):
    """A point in time: `TIMESTAMP WITH TIME ZONE` on Postgres, sortable UTC text on SQLite; always aware in Python."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(32))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; pass an aware datetime")
        return moment_text(value) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None or isinstance(value, datetime):
            return value
        return _moment_of(value)


@lru_cache(256)
def _moment_of(text: str) -> datetime:
    """The rows of one statement mostly have the same moments, and this is asked for each of them."""
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        return UNREADABLE
    return within_reach(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


class _WholeOnSqlite(Integer):
    """SQLite keeps 'high' in an INTEGER column: what is no number is read as 0, what has a fraction without it."""

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return cast(column, Integer)


class _LargeWholeOnSqlite(BigInteger):
    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return cast(column, BigInteger)


class _WordsOnSqlite(String):
    """SQLite keeps a BLOB in a text column: its bytes are read as text."""

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return cast(column, String)


class _LongWordsOnSqlite(Text):
    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return cast(column, Text)


Whole = Integer().with_variant(_WholeOnSqlite(), "sqlite")
LargeWhole = BigInteger().with_variant(_LargeWholeOnSqlite(), "sqlite")
Words = String().with_variant(_WordsOnSqlite(), "sqlite")
LongWords = Text().with_variant(_LongWordsOnSqlite(), "sqlite")


class now(FunctionElement[datetime]):
    """The database's own clock as a `Moment`: never the transaction's start, never a client's clock."""

    type = Moment()
    inherit_cache = True


@compiles(now, "postgresql")
def _postgres_clock(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return "clock_timestamp()"


@compiles(now, "sqlite")
def _sqlite_clock(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000+00:00')"
