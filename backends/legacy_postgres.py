"""Taking over a legacy table on Postgres while others read and write it: a plan made from what is there, then carried out.

Each step leaves the table usable. After an interruption the same plan is made again, without what is done already.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from functools import cache, partial
from typing import NamedTuple

from sqlalchemy import Connection, Dialect, Engine, create_engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateColumn

from . import legacy_facts
from .legacy import COUNT, FILLED, FIRST, RECORD, CannotTakeOver, Reading, checks, quoted, wanted
from .legacy_facts import NEW, Facts
from .migrate import revision_module, statements_of
from .online import LONGEST_CHANGE, IndexWanted, beside_traffic, briefly, build_index
from .postgres import allow

TABLE = "ALTER TABLE indexing_jobs "
HAS = "jobqueue_has_"
"""The prefix of a check that a column has a value: proven beside the traffic, it spares NOT NULL its look at every row."""


@cache
def _dialect() -> Dialect:
    return create_engine("postgresql+psycopg://").dialect


class How(Enum):
    """How a step is carried out."""

    BRIEFLY = "in one transaction, which holds its locks for a moment"
    BESIDE = "each by itself, beside the traffic"
    BATCHES = "for each range of ids by itself"
    EXACTLY = "in one transaction that sees one moment"


class Step(NamedTuple):
    """Some statements and how they are carried out."""

    how: How
    statements: list[str]


Say = Callable[[str], None]


def plan(facts: Facts, reading: Reading) -> list[Step]:
    """What is left to do. A pure function of the table as it is and as the operator says that it is to be read."""
    again = notes(facts, reading)
    steps = [
        Step(How.BRIEFLY, _prepare(facts, again)),
        Step(How.BRIEFLY, _widen(facts, reading)),
        Step(How.BATCHES, _copy(facts, reading)),
        Step(How.BESIDE, _take_away(facts, reading)),
        Step(How.BRIEFLY, _swap(facts, reading)),
        Step(How.BATCHES, [_convert(reading)]),
        Step(How.BRIEFLY, _close_the_door(facts, reading)),
        Step(How.BATCHES, [_convert(reading)]),
        Step(How.BESIDE, _prove(facts, reading)),
        Step(How.BRIEFLY, _require(facts, reading)),
        Step(How.BESIDE, [*(each.statement() for each in indexes()), *again.values()]),
        Step(How.BRIEFLY, [] if facts.has_trigger else revision_module(FIRST).TRIGGERS["postgresql"]),
        Step(How.EXACTLY, [*COUNT, *RECORD, "DROP TABLE jobqueue_takeover"]),
    ]
    return [step for step in steps if step.statements]


def indexes() -> list[IndexWanted]:
    """The queue's indexes in the first schema."""
    return [IndexWanted(*each) for each in revision_module(FIRST).INDEXES]


def notes(facts: Facts, reading: Reading) -> dict[str, str]:
    """What has to be taken away for a while, with the statement that brings it back: kept in a table, for interruptions."""
    changing = {*facts.retyped(reading), *facts.zoned(reading)}
    remade = {
        name: facts.indexes[name][0].replace(" INDEX ", " INDEX CONCURRENTLY IF NOT EXISTS ", 1) for name in facts.on(changing)
    }
    proven = {
        name: f'{TABLE}VALIDATE CONSTRAINT "{name}"'
        for name, (_, was_proven, _, _) in _checks_on(facts, changing).items() if was_proven
    }
    return facts.notes | remade | proven


def _take_away(facts: Facts, reading: Reading) -> list[str]:
    changing = {*facts.retyped(reading), *facts.zoned(reading)}
    return [f'DROP INDEX CONCURRENTLY IF EXISTS "{name}"' for name in facts.on(changing)]


def _checks_on(facts: Facts, names: set[str]) -> dict[str, tuple[str, bool, str, set[str]]]:
    """Checks on columns whose type changes, but for one of the status alone: the queue has its own."""
    return {
        name: each for name, each in facts.constraints.items()
        if each[0] == "c" and each[3] & names and each[3] != {"status"} and not name.startswith("jobqueue_")
    }


def _prepare(facts: Facts, again: dict[str, str]) -> list[str]:
    rest = [] if facts.tables else statements_of("postgresql", revision_module(FIRST).create_the_rest)
    return [
        *rest,
        "CREATE TABLE IF NOT EXISTS jobqueue_takeover (name TEXT PRIMARY KEY, statement TEXT NOT NULL)",
        *(f"INSERT INTO jobqueue_takeover VALUES ({quoted(name)}, {quoted(statement)}) ON CONFLICT DO NOTHING"
          for name, statement in again.items()),
    ]


def _widen(facts: Facts, reading: Reading) -> list[str]:
    """Add what is missing, lift what is too narrow, and begin to copy what must change its form."""
    changes = [f"ADD COLUMN {_declared(column.name)}" for column in wanted().columns if column.name not in facts.columns]
    changes += [f"ALTER COLUMN {name} TYPE VARCHAR" for name in facts.widened()]
    changes += [
        f"ALTER COLUMN {column.name} DROP NOT NULL" for column in wanted().columns
        if column.nullable and column.name in facts.columns and facts.columns[column.name].not_null
    ]
    changes += [
        f'DROP CONSTRAINT "{name}"' for name, (contype, _, _, columns) in facts.constraints.items()
        if contype == "c" and columns == {"status"} and not name.startswith("jobqueue_")
    ]
    retyped = facts.retyped(reading)
    changes += [f"ADD COLUMN {NEW}{name} {_type(name)}" for name in retyped if NEW + name not in facts.columns]
    return [*([TABLE + ", ".join(changes)] if changes else []), *_follow(retyped)]


def _declared(name: str) -> str:
    """The declaration of a column of ours; one whose default is a clock is filled later, or the table would be rewritten."""
    if name == "created_at":
        return f"created_at {_type(name)}"
    return str(CreateColumn(wanted().columns[name]).compile(dialect=_dialect()))


def _type(name: str) -> str:
    return wanted().columns[name].type.compile(dialect=_dialect())


def _follow(retyped: dict[str, str]) -> list[str]:
    """Let the copies follow what others write; the trigger's name makes it the last one."""
    if not retyped:
        return []
    sets = " ".join(f"NEW.{NEW}{name} := NEW.{expression};" for name, expression in retyped.items())
    return [
        f"CREATE OR REPLACE FUNCTION jobqueue_takeover() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {sets} RETURN NEW; END $$",
        "DROP TRIGGER IF EXISTS zzz_jobqueue_takeover ON indexing_jobs",
        "CREATE TRIGGER zzz_jobqueue_takeover BEFORE INSERT OR UPDATE ON indexing_jobs"
        " FOR EACH ROW EXECUTE FUNCTION jobqueue_takeover()",
    ]


def _copy(facts: Facts, reading: Reading) -> list[str]:
    retyped = facts.retyped(reading)
    sets = ", ".join(f"{NEW}{name} = {expression}" for name, expression in retyped.items())
    differ = " OR ".join(f"{NEW}{name} IS DISTINCT FROM ({expression})" for name, expression in retyped.items())
    return [f"UPDATE indexing_jobs SET {sets} WHERE ({differ})"] if retyped else []


def _swap(facts: Facts, reading: Reading) -> list[str]:
    """Put the copies in place, and call times that are UTC already so: Postgres rewrites nothing for a session in UTC."""
    retyped, zoned = facts.retyped(reading), facts.zoned(reading)
    if not retyped and not zoned:
        return []
    checks = _checks_on(facts, {*retyped, *zoned})
    drops = [f'{TABLE}DROP CONSTRAINT "{name}"' for name in checks]
    adds = [f'{TABLE}ADD CONSTRAINT "{name}" {clause.removesuffix(" NOT VALID")} NOT VALID'
            for name, (_, _, clause, _) in checks.items()]
    types = ", ".join(f"ALTER COLUMN {name} DROP DEFAULT, ALTER COLUMN {name} TYPE TIMESTAMP WITH TIME ZONE" for name in zoned)
    away = ["DROP TRIGGER zzz_jobqueue_takeover ON indexing_jobs", "DROP FUNCTION jobqueue_takeover()",
            TABLE + ", ".join(f"DROP COLUMN {name}" for name in retyped)] if retyped else []
    names = [f"{TABLE}RENAME COLUMN {NEW}{name} TO {name}" for name in retyped]
    utc = ["SET LOCAL timezone = 'UTC'", TABLE + types] if zoned else []
    return [*drops, *utc, *away, *names, *adds]


def _convert(reading: Reading) -> str:
    """Give every row a status and the values that the queue needs; what has them is not touched.

    Nor are rows whose status nobody knows: the application writes on, and a check finds them in the end.
    """
    sets = {name: f"coalesce({name}, {value})" for name, value in FILLED.items()}
    empty = " OR ".join(f"{name} IS NULL" for name in [*FILLED, "created_at", "locked_by", "locked_at"])
    empty = empty.replace("locked_by IS NULL OR locked_at IS NULL", "locked_by IS NOT NULL OR locked_at IS NOT NULL")
    sets |= {
        "created_at": "coalesce(created_at, started_at, completed_at, clock_timestamp())",
        "status": reading.status_sql(), "locked_by": "NULL", "locked_at": "NULL",
    }
    assigned = ", ".join(f"{name} = {value}" for name, value in sets.items())
    return (f"UPDATE indexing_jobs SET {assigned}"
            f" WHERE (status NOT IN ('pending', 'completed', 'failed', 'cancelled') OR {empty})"
            f" AND {reading.status_sql()} IS NOT NULL")


def _close_the_door(facts: Facts, reading: Reading) -> list[str]:
    """From here on nobody can add a row that the queue could not take; those that are there are proven later."""
    conditions = checks() | {HAS + name: f"{name} IS NOT NULL" for name in _may_be_empty(facts, reading)}
    missing = {name: condition for name, condition in conditions.items() if name not in facts.constraints}
    changes = [f"ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID" for name, condition in missing.items()]
    changes += [f"ALTER COLUMN {name} SET DEFAULT {default}" for name, default in _defaults().items()]
    storage = ", ".join(f"{name} = {value}" for name, value in revision_module(FIRST).STORAGE.items())
    return [TABLE + ", ".join(changes), f"{TABLE}SET ({storage})", *_numbering(facts)]


def _defaults() -> dict[str, str]:
    declared = {column.name: str(CreateColumn(column).compile(dialect=_dialect())) for column in wanted().columns}
    found = {name: re.search(r"DEFAULT (.+?)( NOT NULL)?$", text) for name, text in declared.items()}
    return {name: default[1] for name, default in found.items() if default}


def _numbering(facts: Facts) -> list[str]:
    if facts.columns["id"].makes_values:
        return []
    return [f"{TABLE}ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY",
            "SELECT setval(pg_get_serial_sequence('indexing_jobs', 'id'), (SELECT max(id) FROM indexing_jobs))"]


def _may_be_empty(facts: Facts, reading: Reading) -> list[str]:
    """Columns that must have a value and do not say so; those that are added with a constant say it from the start."""
    copied = facts.retyped(reading)
    return [
        column.name for column in wanted().columns if not column.nullable and (
            column.name in copied or not facts.columns[column.name].not_null
            if column.name in facts.columns else column.name == "created_at")
    ]


def _prove(facts: Facts, reading: Reading) -> list[str]:
    names = [*checks(), *(HAS + name for name in _may_be_empty(facts, reading))]
    return [f"{TABLE}VALIDATE CONSTRAINT {name}" for name in names
            if name not in facts.constraints or not facts.constraints[name][1]]


def _require(facts: Facts, reading: Reading) -> list[str]:
    names = _may_be_empty(facts, reading)
    changes = ([f"ALTER COLUMN {name} SET NOT NULL" for name in names], [f"DROP CONSTRAINT {HAS}{name}" for name in names])
    return [TABLE + ", ".join(each) for each in changes if each]


def take_over(engine: Engine, reading: Reading, batch: int, say: Say) -> None:
    """Carry the plan out; whoever calls this has the turn among upgrades. Raises `CannotTakeOver`."""
    for step in look(engine, reading):
        say(f"{_title(step)}, {step.how.value}")
        try:
            _carry_out(engine, step, batch)
        except IntegrityError:
            _refuse_what_came_meanwhile(engine, reading)
            raise


def _refuse_what_came_meanwhile(engine: Engine, reading: Reading) -> None:
    with engine.connect() as connection:
        allow(connection, LONGEST_CHANGE)
        found = [*legacy_facts.unknown_statuses(connection, reading)]
    if found:
        raise CannotTakeOver(found, was_begun=True) from None


def look(engine: Engine, reading: Reading) -> list[Step]:
    """The plan for the table as it is now. Raises `CannotTakeOver` with everything that is in the way."""
    with engine.connect() as connection:
        allow(connection, LONGEST_CHANGE)
        facts = legacy_facts.read(connection)
        found = legacy_facts.problems(connection, facts, reading)
    if found:
        raise CannotTakeOver(found)
    return plan(facts, reading)


def _title(step: Step) -> str:
    first = step.statements[0]
    more = f" and {len(step.statements) - 1} more" if len(step.statements) > 1 else ""
    return f"{' '.join(first.split())[:60]}...{more}"


def _carry_out(engine: Engine, step: Step, batch: int) -> None:
    match step.how:
        case How.BRIEFLY:
            briefly(engine, lambda connection: _run(connection, step.statements))
        case How.BESIDE:
            for statement in step.statements:
                _beside(engine, statement)
        case How.BATCHES:
            for statement in step.statements:
                _in_batches(engine, statement, batch)
        case How.EXACTLY:
            with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
                allow(connection, LONGEST_CHANGE)
                _run(connection, step.statements)


def _run(connection: Connection, statements: list[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _beside(engine: Engine, statement: str) -> None:
    index = re.match(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS \"?([^\" ]+)", statement)
    if index:
        build_index(engine, index[1], statement)
    else:
        beside_traffic(engine, statement)


def _in_batches(engine: Engine, statement: str, batch: int) -> None:
    after: int | None = -(2**63)
    while after is not None:
        after = briefly(engine, partial(_one_batch, statement=statement, after=after, batch=batch))


def _one_batch(connection: Connection, statement: str, after: int, batch: int) -> int | None:
    """Change the next rows by id; returns the last one's, None when there are no more."""
    ids = f"SELECT id FROM indexing_jobs WHERE id > {after} ORDER BY id LIMIT {batch}"
    last = connection.exec_driver_sql(f"SELECT max(id) FROM ({ids}) AS next").scalar()
    if last is not None:
        _run(connection, [f"{statement} AND id > {after} AND id <= {last}"])
    return last
