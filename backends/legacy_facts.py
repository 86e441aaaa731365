"""What a legacy table on Postgres is like: its columns, what stands on them, and all that keeps it from being taken over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, text

from .legacy import (
    NEEDED,
    PRIVATE,
    Kind,
    Reading,
    first_tables,
    kind,
    problem_of_private,
    problem_of_required,
    problem_of_tables,
    problems_of_columns,
    wanted,
)

NUMBERS, TEXTS, OTHER_TEXTS = {"int2", "int4", "int8"}, {"text", "varchar"}, {"bpchar", "json", "jsonb", "citext"}
ACCEPTED = {
    Kind.NUMBER: NUMBERS, Kind.TEXT: TEXTS | OTHER_TEXTS, Kind.MOMENT: {"timestamptz", "timestamp"},
    Kind.FLOAT: {"float4", "float8", "numeric"},
}
NEW = "jobqueue_new_"
"""The prefix of a column that is being filled to take another's place."""


@dataclass(frozen=True)
class Found:
    """A column: `type` as the catalog calls it, `shown` as people do, `length` of a limited text (-1: none)."""

    type: str
    shown: str
    is_enum: bool
    length: int
    not_null: bool
    default: str | None
    makes_values: bool


@dataclass(frozen=True)
class Facts:
    """The legacy table as it is now."""

    columns: dict[str, Found]
    dependents: dict[str, list[str]]
    """Views, policies, triggers and generated columns that name a column, in words."""
    indexes: dict[str, tuple[str, set[str]]]
    """Indexes that no constraint owns: the statement that makes each, and its columns."""
    constraints: dict[str, tuple[str, bool, str, set[str]]]
    """Constraints: kind (as in pg_constraint), whether proven, the clause, and its columns."""
    notes: dict[str, str]
    """What an earlier run took away for a while: names, and the statements that bring them back."""
    tables: set[str]
    has_trigger: bool

    def retyped(self, reading: Reading) -> dict[str, str]:
        """Columns whose values need another form, each with the expression for it: they are copied beside the traffic."""
        changes = {}
        for column in wanted().columns:
            found = self.columns.get(column.name)
            if found and kind(column) is Kind.TEXT and found.type not in TEXTS:
                changes[column.name] = f"{column.name}::text"
            if found and found.type == "timestamp" and reading.timezone != "UTC":
                changes[column.name] = f"{column.name} AT TIME ZONE '{reading.timezone}'"
        return changes

    def zoned(self, reading: Reading) -> list[str]:
        """Columns that are UTC already and only have to be called so."""
        zoneless = [column.name for column in wanted().columns if self._is_zoneless(column.name)]
        return zoneless if reading.timezone == "UTC" else []

    def _is_zoneless(self, name: str) -> bool:
        return name in self.columns and self.columns[name].type == "timestamp"

    def widened(self) -> list[str]:
        """Texts of limited length, where nothing keeps the limit from being lifted."""
        return [
            column.name for column in wanted().columns
            if (found := self.columns.get(column.name)) and kind(column) is Kind.TEXT and found.type == "varchar"
            and found.length > 0 and column.name not in self.dependents
            and not any(column.name in columns for _, _, _, columns in self.constraints.values())
        ]

    def on(self, names: set[str]) -> list[str]:
        """The indexes that stand on one of these columns."""
        return [name for name, (_, columns) in self.indexes.items() if columns & names]


def read(connection: Connection) -> Facts:
    """Look at the table; a few small queries of the catalog."""
    rows = connection.execute(_COLUMNS).all()
    names = {row.attnum: row.attname for row in rows}

    def named(numbers: list[int] | None) -> set[str]:
        return {names[number] for number in numbers or [] if number in names}

    dependents: dict[str, list[str]] = {}
    for row in connection.execute(_DEPENDENTS):
        dependents.setdefault(names[row.attnum], []).append(row.what)
    has_notes = connection.execute(text("SELECT to_regclass('jobqueue_takeover') IS NOT NULL")).scalar_one()
    return Facts(
        columns={row.attname: Found(row.typname, row.shown, row.typtype == "e", row.length, row.attnotnull, row.expression,
                                    bool(row.attidentity or row.attgenerated or row.expression)) for row in rows},
        dependents=dependents,
        indexes={row.name: (row.statement, named(row.numbers)) for row in connection.execute(_INDEXES)},
        constraints={row.conname: (row.contype, row.convalidated, row.clause, named(row.conkey))
                     for row in connection.execute(_CONSTRAINTS)},
        notes=dict(connection.execute(text("SELECT name, statement FROM jobqueue_takeover")).all()) if has_notes else {},
        tables=set(connection.execute(_TABLES, {"names": list(first_tables())}).scalars()),
        has_trigger=bool(connection.execute(_TRIGGER).scalar()),
    )


def problems(connection: Connection, facts: Facts, reading: Reading) -> list[str]:
    """Everything that keeps the table from being taken over, each with what to do. Reads the whole table once or twice."""
    found = [*_of_place(connection), *problems_of_columns(facts.columns), *_of_types(facts), *_of_id(facts),
             *_of_dependents(facts, reading), *_of_an_interruption(facts, reading), *problem_of_tables(facts.tables),
             *(problem_of_required(name) for name, column in facts.columns.items()
               if column.not_null and not column.makes_values and name not in wanted().columns)]
    return found or [*_of_values(connection, facts, reading)]


def _of_place(connection: Connection) -> Iterator[str]:
    row = connection.execute(_PLACE).one()
    if row.relkind != "r":
        yield "indexing_jobs is no plain table (a view, partitioned or foreign): move it away, or use another schema"
    if row.inherits:
        yield "indexing_jobs inherits from a table, or tables from it (INHERITS, PARTITION OF): put its rows into a table alone"
    if row.nspname != row.current:
        yield (f"indexing_jobs stands in schema {row.nspname}, but this connection's own is {row.current}:"
               f" add ?options=-csearch_path%3D{row.nspname} to the URL")
    if not row.owner:
        yield f"indexing_jobs belongs to {row.owned_by}: connect as that user, or one who is a member of it"
    elif not row.creates:
        yield f"this user may not create tables in schema {row.current}: GRANT CREATE ON SCHEMA {row.current}"


def _of_types(facts: Facts) -> Iterator[str]:
    for column in wanted().columns:
        found = facts.columns.get(column.name)
        if found is None:
            continue
        enum = found.is_enum and kind(column) is Kind.TEXT
        if found.type not in ACCEPTED[kind(column)] and not enum:
            yield f"column {column.name} is {found.shown}, but must hold {kind(column)}: rename it, or change its type"


def _of_id(facts: Facts) -> Iterator[str]:
    keys = [columns for contype, _, _, columns in facts.constraints.values() if contype == "p"]
    if "id" in facts.columns and keys != [{"id"}]:
        yield "column id is not the primary key: ALTER TABLE indexing_jobs ADD PRIMARY KEY (id)"


def _of_dependents(facts: Facts, reading: Reading) -> Iterator[str]:
    retyped = set(facts.retyped(reading))
    changing = retyped | set(facts.zoned(reading))
    for name in sorted(changing):
        for what in facts.dependents.get(name, []):
            yield f"{what} uses column {name}, whose type must change: drop it, run this, and make it again"
    for name, (contype, _, clause, columns) in facts.constraints.items():
        fits = contype == "c" and (columns == {"status"} or not _speaks_of_enum(facts, clause, columns))
        if columns & changing and not fits:
            yield f"constraint {name} stands on a column whose type must change: drop it, run this, and add it again"
    for name in facts.on(retyped):
        if _speaks_of_enum(facts, *facts.indexes[name]):
            yield f"index {name} speaks of a type that must go: drop it; the queue brings indexes of its own"


def _of_an_interruption(facts: Facts, reading: Reading) -> Iterator[str]:
    names = [name.removeprefix(NEW) for name in facts.columns if name.startswith(NEW)]
    for name in names:
        if name not in facts.retyped(reading):
            yield f"an interrupted run read column {name} in another way: give the same --timezone as then"


def _speaks_of_enum(facts: Facts, clause: str, columns: set[str]) -> bool:
    return any(f"::{facts.columns[name].shown}" in clause for name in columns if facts.columns[name].is_enum)


def unknown_statuses(connection: Connection, reading: Reading) -> list[str]:
    """A problem for each status of which nobody knows what it means. Reads the whole table."""
    return reading.unknown(connection.execute(text("SELECT DISTINCT status::text FROM indexing_jobs ORDER BY 1")).scalars())


def _of_values(connection: Connection, facts: Facts, reading: Reading) -> Iterator[str]:
    yield from unknown_statuses(connection, reading)
    empty = [name for name in NEEDED if name != "status" and not facts.columns[name].not_null]
    written = {name: condition for name, condition in PRIVATE.items() if name in facts.columns}
    tests = {name: f"{name} IS NULL" for name in empty} | written
    if not tests:
        return
    asked = ", ".join(f"coalesce(bool_or({condition}), false)" for condition in tests.values())
    answers = connection.execute(text(f"SELECT {asked} FROM indexing_jobs")).one()
    for name, answer in zip(tests, answers, strict=True):
        if answer:
            yield problem_of_private(name) if name in written else (
                f"column {name} is NULL in some rows, and cannot be made up: fill them, or delete the rows")


_COLUMNS = text("""
    SELECT attnum, attname, typname, typtype, format_type(atttypid, atttypmod) AS shown, atttypmod - 4 AS length,
           attnotnull, pg_get_expr(adbin, adrelid) AS expression, attidentity::text, attgenerated::text
    FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = 'indexing_jobs'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum""")

_DEPENDENTS = text("""
    SELECT DISTINCT refobjsubid AS attnum, pg_describe_object(classid, objid, objsubid) AS what
    FROM pg_depend LEFT JOIN pg_trigger ON classid = 'pg_trigger'::regclass AND pg_trigger.oid = objid
    WHERE refclassid = 'pg_class'::regclass AND refobjid = 'indexing_jobs'::regclass AND refobjsubid > 0
      AND (classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass) OR classid = 'pg_trigger'::regclass AND NOT tgisinternal
           OR classid = 'pg_attrdef'::regclass AND NOT EXISTS (
               SELECT FROM pg_attrdef WHERE oid = objid AND adrelid = refobjid AND adnum = refobjsubid))
    ORDER BY 2""")

_INDEXES = text("""
    SELECT relname AS name, pg_get_indexdef(indexrelid) AS statement,
           ARRAY(SELECT DISTINCT refobjsubid FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = indexrelid
                 AND refobjid = indrelid AND refobjsubid > 0) AS numbers
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = 'indexing_jobs'::regclass AND NOT EXISTS (
        SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid AND contype IN ('p', 'u', 'x'))""")

_CONSTRAINTS = text("""
    SELECT conname, contype::text, convalidated, pg_get_constraintdef(oid) AS clause, conkey FROM pg_constraint
    WHERE conrelid = 'indexing_jobs'::regclass AND contype IN ('c', 'f', 'p', 'u', 'x')""")

_PLACE = text("""
    SELECT relkind::text, EXISTS (SELECT FROM pg_inherits WHERE pg_class.oid IN (inhrelid, inhparent)) AS inherits,
           nspname, current_schema() AS current, pg_has_role(relowner, 'USAGE') AS owner,
           pg_get_userbyid(relowner) AS owned_by, has_schema_privilege(current_schema(), 'CREATE') AS creates
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE pg_class.oid = 'indexing_jobs'::regclass""")

_TABLES = text("SELECT relname::text FROM pg_class WHERE relname = ANY(:names) AND relnamespace = current_schema()::regnamespace")

_TRIGGER = text("SELECT true FROM pg_trigger WHERE tgrelid = 'indexing_jobs'::regclass AND tgname = 'jobqueue_inserted'")
