"""From whatever stands there to this release's schema: an empty database, an older one, or another program's table of jobs."""

from __future__ import annotations

import logging

from sqlalchemy import Engine

from . import legacy_postgres, legacy_sqlite
from .dialects import one_writer
from .engine import as_unavailable
from .legacy import FIRST, Reading
from .legacy_postgres import How, Say, Step
from .migrate import Migration, current, head, indexes_due, is_legacy, upgrade, upgrade_sql, upgrade_sql_from
from .online import turn

log = logging.getLogger("jobqueue.backends")

BATCH = 5_000
"""Rows that one transaction changes."""


def migrate(engine: Engine, reading: Reading | None = None, *, batch: int = BATCH, say: Say = log.info) -> Migration:
    """Bring any database to this release's schema; rows are kept, and repeating it does nothing.

    A legacy table is taken over as `reading` says; an interruption at any moment is gone on with by the next call. On
    Postgres others may read and write meanwhile; on SQLite it is one transaction. `before` is "legacy" then. Raises
    `CannotTakeOver` with every reason, where possible before anything is changed, `SchemaMismatch`, `DatabaseUnavailable`.
    """
    with as_unavailable():
        if not _is_legacy(engine):
            return upgrade(engine)
        return _from_legacy(engine, reading or Reading(), batch, say)


def _is_legacy(engine: Engine) -> bool:
    with engine.connect().execution_options(jobqueue_read=True) as connection:
        return is_legacy(connection)


def _from_legacy(engine: Engine, reading: Reading, batch: int, say: Say) -> Migration:
    if one_writer(engine):
        legacy_sqlite.take_over(engine, reading, say)
    else:
        with turn(engine):
            if _is_legacy(engine):
                legacy_postgres.take_over(engine, reading, batch, say)
        upgrade(engine)
    return Migration("legacy", head())


def migrate_sql(engine: Engine, reading: Reading | None = None) -> str:
    """The SQL that `migrate` would run, without running it. Raises as `migrate` does."""
    with as_unavailable():
        if not _is_legacy(engine):
            return "" if current(engine) == head() else upgrade_sql(engine)
        if one_writer(engine):
            return legacy_sqlite.script(engine, reading or Reading()) + upgrade_sql_from("sqlite", FIRST)
        steps = legacy_postgres.look(engine, reading or Reading())
        later = Step(How.BESIDE, [each.statement() for each in indexes_due(FIRST)])
        return "\n".join(map(_shown, [*steps, later])) + "\n" + upgrade_sql_from("postgresql", FIRST)


def _shown(step: Step) -> str:
    return f"-- {step.how.value}:\n" + "".join(f"{statement};\n" for statement in step.statements)
