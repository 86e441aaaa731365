"""Taking over a legacy table on SQLite: the table is built anew beside the old one and put in its place, in one transaction.

The procedure is SQLite's own (sqlite.org/lang_altertable.html#otheralter).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, Engine
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateColumn

from .create_table import Declared, clauses, unquoted
from .legacy import (
    COUNT,
    FILLED,
    FIRST,
    PRIVATE,
    RECORD,
    CannotTakeOver,
    Kind,
    Reading,
    checks,
    first_tables,
    kind,
    problem_of_private,
    problem_of_required,
    problems_of_columns,
    wanted,
)
from .migrate import is_legacy, revision_module, statements_of, upgrade_within
from .sqlite import own_connection
from .tables import moment_text

NEW = "jobqueue_takeover"
Say = Callable[[str], None]


def take_over(engine: Engine, reading: Reading, say: Say) -> None:
    """Do all of it, up to this release's schema. Raises `CannotTakeOver` before any change."""
    with engine.connect() as connection:
        own = own_connection(connection)
        own.create_function("jobqueue_moment", 1, lambda value: moment_of(value, reading))
        own.execute("PRAGMA foreign_keys = 0")
        own.execute("PRAGMA legacy_alter_table = 1")
        try:
            with connection.begin():
                if is_legacy(connection):
                    _rebuild(connection, reading, say)
                    upgrade_within(connection)
        finally:
            connection.detach()  # what was set on it is for nobody else


def _rebuild(connection: Connection, reading: Reading, say: Say) -> None:
    broken = _broken_references(connection)
    for statement in _statements(connection, reading):
        say(f"{' '.join(statement.split())[:100]}...")
        _run(connection, statement)
    if _broken_references(connection) != broken:
        raise CannotTakeOver(["references between tables would break, which is a fault of this program; nothing was changed"])


def script(engine: Engine, reading: Reading) -> str:
    """The SQL of it. `jobqueue_moment` is a function of this program's, which reads a time in any form."""
    with engine.connect().execution_options(jobqueue_read=True) as connection:
        own_connection(connection).create_function("jobqueue_moment", 1, lambda value: moment_of(value, reading))
        statements = _statements(connection, reading)
    return "".join(f"{statement};\n\n" for statement in ["PRAGMA foreign_keys = 0", "PRAGMA legacy_alter_table = 1", *statements])


def _statements(connection: Connection, reading: Reading) -> list[str]:
    """Everything that is to be run. Raises `CannotTakeOver` with everything that is in the way."""
    declared = _declared(connection)
    found = list(_problems(connection, declared, reading))
    if found:
        raise CannotTakeOver(found)
    last = _last_id(connection)
    first = revision_module(FIRST)
    return [
        _create(declared),
        _copy(connection, declared, reading),
        "DROP TABLE indexing_jobs",
        f"ALTER TABLE {NEW} RENAME TO indexing_jobs",
        f"DELETE FROM sqlite_sequence WHERE lower(name) IN ('indexing_jobs', '{NEW}')",
        f"INSERT INTO sqlite_sequence (name, seq) VALUES ('indexing_jobs', {last})",
        *_attached(connection),
        *statements_of("sqlite", first.create_the_rest),
        *(f"CREATE {'UNIQUE ' if unique else ''}INDEX {name} ON indexing_jobs ({', '.join(columns)})"
          + (f" WHERE {where}" if where else "") for name, columns, where, unique in first.INDEXES),
        *first.TRIGGERS["sqlite"],
        *COUNT,
        *RECORD,
    ]


def _declared(connection: Connection) -> Declared:
    statement = _scalar(connection, "SELECT sql FROM sqlite_master WHERE type = 'table' AND lower(name) = 'indexing_jobs'") or ""
    if not re.match(r"(?is)create\s+table\b", statement):
        raise CannotTakeOver(["indexing_jobs is a view or a virtual table: move it away, or use another database"])
    return Declared.parse(statement)


def _create(declared: Declared) -> str:
    ours = [_ours(column, declared.columns.get(column.name, "")) for column in wanted().columns]
    theirs = [text for name, text in declared.columns.items() if name not in wanted().columns]
    conditions = [f"CONSTRAINT {name} CHECK ({condition})" for name, condition in checks().items()]
    kept = [text for text in declared.constraints if not _replaced(text, set(declared.columns))]
    return f"CREATE TABLE {NEW} (\n    " + ",\n    ".join([*ours, *theirs, *conditions, *kept]) + "\n)"


def _ours(column: Column[Any], before: str) -> str:
    """Our declaration, with what theirs refers to, compares by and demands beyond ours."""
    if column.name == "id":
        return "id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT"
    kept = [each for each in clauses(before) if re.match(r"(?is)(constraint\s+\S+\s+)?(references|collate|unique|check)\b", each)]
    if column.name == "status":
        kept = [each for each in kept if not re.search(r"(?i)\bcheck\b", each)]
    return " ".join([str(CreateColumn(column).compile(dialect=sqlite.dialect())).strip(), *kept])


def _replaced(constraint: str, columns: set[str]) -> bool:
    """A primary key, and a check of the status alone: ours take their place."""
    words = constraint.lower()
    if re.match(r"(constraint\s+\S+\s+)?primary\b", words):
        return True
    names = set(re.findall(r"[a-z_]\w*", re.sub(r"'[^']*'", "", words)))
    return bool(re.match(r"(constraint\s+\S+\s+)?check\b", words)) and names & columns == {"status"}


def _copy(connection: Connection, declared: Declared, reading: Reading) -> str:
    present = [column for column in wanted().columns if column.name in declared.columns]
    values = {column.name: _value(column, set(declared.columns), reading) for column in present}
    if "created_at" not in values:
        values["created_at"] = _created(set(declared.columns))
    theirs = [name for name in _stored(connection) if unquoted(name) not in wanted().columns]
    values |= {name: name for name in theirs}
    return f"INSERT INTO {NEW} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM indexing_jobs ORDER BY id"


def _value(column: Column[Any], present: set[str], reading: Reading) -> str:
    name = column.name
    if name == "status":
        return reading.status_sql()
    if name in ("locked_by", "locked_at"):
        return "NULL"
    if name == "created_at":
        return _created(present)
    if name in FILLED:
        return f"coalesce({name}, {FILLED[name]})"
    return f"jobqueue_moment({name})" if kind(column) is Kind.MOMENT else name


def _created(present: set[str]) -> str:
    """When it was created; else the earliest that is known; else now."""
    known = [f"jobqueue_moment({name})" for name in ("created_at", "started_at", "completed_at") if name in present]
    return f"coalesce({', '.join([*known, _NOW])})" if known else _NOW


_NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000+00:00'"


def moment_of(value: object, reading: Reading) -> str | None:
    """A time in any form that programs write, in our one; None for what is none. Numbers are seconds since 1970."""
    try:
        if isinstance(value, int | float):
            return moment_text(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value))
        if not isinstance(value, str):
            return None
        moment = datetime.fromisoformat(value.strip())
        return moment_text(moment if moment.tzinfo else moment.replace(tzinfo=reading.zone))
    except (ValueError, OverflowError):
        return None


def _problems(connection: Connection, declared: Declared, reading: Reading) -> Iterator[str]:
    names = set(declared.columns)
    early = [*problems_of_columns(names)]
    yield from early
    taken = _column(connection, "SELECT lower(name) FROM sqlite_master WHERE type IN ('table', 'view')")
    yield from (f"a table {name} exists already: rename yours" for name in sorted({*first_tables(), NEW} & set(taken)))
    yield from (problem_of_required(name) for name in _demanding(connection))
    if not early:
        yield from reading.unknown(_column(connection, "SELECT DISTINCT CAST(status AS TEXT) FROM indexing_jobs ORDER BY 1"))
        yield from _of_values(connection, names)


def _of_values(connection: Connection, names: set[str]) -> Iterator[str]:
    for column in wanted().columns:
        if column.name not in names:
            continue
        name, wrong = column.name, _WRONG[kind(column)].format(column.name)
        row = connection.exec_driver_sql(f"SELECT id, {name} FROM indexing_jobs WHERE {wrong} LIMIT 1").first()
        if row:
            yield f"column {name} must hold {kind(column)}, but holds {row[1]!r} (id {row[0]}): correct it"
        if name in PRIVATE and _scalar(connection, f"SELECT count(*) FROM indexing_jobs WHERE {PRIVATE[name]}"):
            yield problem_of_private(name)
    for name in ("id", "program_id", "job_type"):
        if _scalar(connection, f"SELECT count(*) FROM indexing_jobs WHERE {name} IS NULL"):
            yield f"column {name} is NULL in some rows, and cannot be made up: fill them, or delete the rows"
    if _scalar(connection, "SELECT count(*) - count(DISTINCT id) FROM indexing_jobs WHERE id IS NOT NULL"):
        yield "column id holds the same number twice: correct it"


_WRONG = {
    Kind.NUMBER: "typeof({0}) NOT IN ('integer', 'null')", Kind.TEXT: "typeof({0}) NOT IN ('text', 'null', 'integer', 'real')",
    Kind.MOMENT: "{0} IS NOT NULL AND jobqueue_moment({0}) IS NULL", Kind.FLOAT: "typeof({0}) NOT IN ('real', 'integer', 'null')",
}


def _demanding(connection: Connection) -> list[str]:
    """Columns of theirs that must have a value, and have none by themselves."""
    rows = connection.exec_driver_sql("SELECT name, \"notnull\", dflt_value, hidden FROM pragma_table_xinfo('indexing_jobs')")
    return [row[0] for row in rows if row[1] and row[2] is None and not row[3] and row[0].lower() not in wanted().columns]


def _stored(connection: Connection) -> list[str]:
    """The names, quoted, of the columns that are stored: generated ones cannot be copied."""
    return _column(connection, "SELECT '\"' || replace(name, '\"', '\"\"') || '\"' FROM pragma_table_xinfo('indexing_jobs')"
                               " WHERE hidden = 0")


def _attached(connection: Connection) -> list[str]:
    """Their indexes and triggers, to be made again; dropping the table takes them along."""
    return _column(connection, "SELECT sql FROM sqlite_master WHERE lower(tbl_name) = 'indexing_jobs'"
                               " AND type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY type, rowid")


def _last_id(connection: Connection) -> int:
    """The highest id that was ever given, as far as anybody knows."""
    known = [_scalar(connection, "SELECT max(id) FROM indexing_jobs") or 0]
    if _scalar(connection, "SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_sequence'"):
        known.append(_scalar(connection, "SELECT max(seq) FROM sqlite_sequence WHERE lower(name) = 'indexing_jobs'") or 0)
    return int(max(known))


def _broken_references(connection: Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.exec_driver_sql("PRAGMA foreign_key_check")]


def _run(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _scalar(connection: Connection, statement: str) -> Any:
    return connection.exec_driver_sql(statement).scalar()


def _column(connection: Connection, statement: str) -> list[Any]:
    return list(connection.exec_driver_sql(statement).scalars())
