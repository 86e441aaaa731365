"""How much of what others wrote is read: cut by the database, so that no row, however large, makes a large answer."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Integer, case, cast, func, literal_column, type_coerce
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import String

from .parameters import LARGEST_PARAMETERS

LARGEST_READ = 1_000_000
"""Bytes of a text whose beginning is shown. SQLite reads all of a text to find its beginning, so of a larger one nothing is."""


class Extent(NamedTuple):
    """How much of a row is shown: texts of so many bytes, of longer ones so many characters, so many bytes of parameters."""

    text: int
    beginning: int
    parameters: int


IN_LISTS = Extent(2_000, 1_000, 4_000)
ALONE = Extent(100_000, 20_000, LARGEST_PARAMETERS)
"""All that our own writers can bring into a row."""


class octets(FunctionElement[int]):
    """The bytes of a text, which neither database reads for it: Postgres knows the size of what it keeps apart."""

    type = Integer()
    inherit_cache = True


@compiles(octets)
def _octets(element: octets, compiler: SQLCompiler, **kw: Any) -> str:
    return f"octet_length({compiler.process(element.clauses, **kw)})"


@compiles(octets, "sqlite")
def _octets_on_sqlite(element: octets, compiler: SQLCompiler, **kw: Any) -> str:
    """SQLite before 3.43 has to read the text."""
    if getattr(compiler.dialect.dbapi, "sqlite_version_info", (3, 43)) < (3, 43):
        return f"length(CAST({compiler.process(element.clauses, **kw)} AS BLOB))"
    return _octets(element, compiler, **kw)


def cut(column: ColumnElement[Any], extent: Extent) -> ColumnElement[Any]:
    """A text under its own name, the end of a long one replaced by how many bytes there are."""
    size = octets(column)
    mark = literal_column("' ['", String) + cast(size, String) + literal_column("' bytes in all]'", String)
    shown = case(
        (size <= _number(extent.text), column),
        (size > _number(LARGEST_READ), mark),
        else_=func.substr(column, _number(1), _number(extent.beginning)) + mark,
    )
    return type_coerce(shown, column.type).label(column.key)


def up_to(size: int, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A text under its own name; in place of a larger one, how many bytes there are: `[300000000 bytes]`."""
    left_out = literal_column("'['", String) + cast(octets(column), String) + literal_column("' bytes]'", String)
    return type_coerce(case((octets(column) > _number(size), left_out), else_=column), column.type).label(column.key)


def small(column: ColumnElement[Any], extent: Extent) -> ColumnElement[Any]:
    """Parameters under their own name; NULL for large ones."""
    return case((octets(column) <= _number(extent.parameters), column)).label(column.key)


def _number(value: int) -> Any:
    """In the text: it is always the same, and each parameter costs on every row."""
    return literal_column(str(value), Integer)
