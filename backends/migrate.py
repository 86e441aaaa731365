"""The schema's history: bring a database up to date, one process at a time, and say what is there.

Alembic does the work, with its own version table, so that a host application's Alembic is left alone. Where Postgres holds
jobs already, new indexes of the queue are made before, beside the traffic.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, Engine, inspect, select, text

from .dialects import one_writer
from .engine import as_unavailable
from .job import SchemaMismatch
from .online import IndexWanted, briefly, build_indexes, turn
from .tables import indexing_jobs, metadata

if TYPE_CHECKING:  # imported where it is used: a fifth of the time of a command that migrates nothing
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

VERSION_TABLE = "jobqueue_version"


class Migration(NamedTuple):
    """What `upgrade` did: the schema before (None: there was none) and after."""

    before: str | None
    after: str

    @property
    def created(self) -> bool:
        """Whether there was nothing before."""
        return self.before is None


def head() -> str:
    """The schema that this release needs."""
    return str(_script().get_current_head())


def current(engine: Engine) -> str | None:
    """The schema that the database has; None when it has none of ours. Raises `DatabaseUnavailable`."""
    with as_unavailable():
        return _read(engine)


def _read(engine: Engine) -> str | None:
    with engine.connect().execution_options(jobqueue_read=True) as connection:
        return _version(connection)


def check(engine: Engine) -> None:
    """Raise `SchemaMismatch`, with what to do, unless the database has the schema that this release needs."""
    found = current(engine)
    if found is None:
        raise SchemaMismatch(_nothing_of_ours(engine))
    if found not in _known():
        raise SchemaMismatch(f"schema is at {found}, newer than this release ({head()}). Upgrade the package.")
    if found != head():
        raise SchemaMismatch(f"schema is at {found}, this release needs {head()}. Back up, then: supervisor db upgrade")


def _nothing_of_ours(engine: Engine) -> str:
    with as_unavailable(), engine.connect().execution_options(jobqueue_read=True) as connection:
        if is_legacy(connection):
            return f"{NOT_OURS}. {TAKE_IT_OVER}"
    return f"the database has no tables of ours, this release needs {head()}. Run: supervisor db upgrade"


def upgrade(engine: Engine) -> Migration:
    """Bring the database to this release's schema; rows are kept, and repeating it does nothing.

    A new database is made in one transaction. An older one stays usable meanwhile: locks are held for moments, and what an
    interruption left is gone on with the next time. Any number of processes may call this at once. Raises `SchemaMismatch`
    for a newer schema or a table that is not ours, and `DatabaseUnavailable`.
    """
    with as_unavailable():
        return _upgrade(engine)


def _upgrade(engine: Engine) -> Migration:
    if _read(engine) == head():
        return Migration(head(), head())
    if one_writer(engine):
        with engine.begin() as connection:
            return upgrade_within(connection)
    with turn(engine):
        build_indexes(engine, indexes_due(_read(engine)))
        return briefly(engine, upgrade_within)


def upgrade_within(connection: Connection, to: str = "head") -> Migration:
    """The same, in the caller's transaction, which must be the only one that does this; `to` may be an older schema."""
    before = _version(connection)
    _refuse_strangers(connection, before)
    if before != head():
        _run(lambda environment: environment.configure(connection=connection, **_OPTIONS), to=to)
    return Migration(before, head() if to == "head" else to)


def indexes_due(before: str | None) -> list[IndexWanted]:
    """The indexes of the queue that a database at this schema lacks; none when there is no queue yet."""
    if before is None or before not in _known():
        return []
    missing = [*_script().iterate_revisions("head", before)]
    return [IndexWanted(*each) for revision in reversed(missing) for each in getattr(revision.module, "INDEXES", [])]


def upgrade_sql(engine: Engine) -> str:
    """The SQL that `upgrade` would run on this database, without running it. Raises as `upgrade` does."""
    with as_unavailable():
        with engine.connect().execution_options(jobqueue_read=True) as connection:
            before = _version(connection)
            _refuse_strangers(connection, before)
        beside = [] if one_writer(engine) else indexes_due(before)
        return "".join(f"{each.statement()};\n\n" for each in beside) + upgrade_sql_from(engine.dialect.name, before)


def upgrade_sql_from(dialect: str, before: str | None) -> str:
    """The SQL of the transaction that leads from this schema to this release's."""
    written = io.StringIO()
    options: dict[str, Any] = {"dialect_name": dialect, "as_sql": True, "output_buffer": written, "literal_binds": True}
    _run(lambda environment: environment.configure(**options, **_OPTIONS), before)
    return written.getvalue()


def revision_module(name: str) -> Any:
    """The module of one step in the schema's history."""
    return _script().get_revision(name).module


def statements_of(dialect: str, operations: Callable[[], None]) -> list[str]:
    """The SQL that some of Alembic's operations mean on this database, one statement each."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    written: list[str] = []

    class Statements(io.StringIO):
        def write(self, statement: str) -> int:
            written.append(statement.strip().removesuffix(";"))
            return len(statement)

    options = {"as_sql": True, "output_buffer": Statements(), "literal_binds": True}
    with Operations.context(MigrationContext.configure(dialect_name=dialect, opts=options)):
        operations()
    return written


_OPTIONS: dict[str, Any] = {
    "target_metadata": metadata, "version_table": VERSION_TABLE, "transactional_ddl": True, "render_as_batch": True
}


def _run(
    configure: Callable[[EnvironmentContext], None], starting_from: str | None = None, to: str = "head"
) -> None:
    script = _script()

    def revisions(found: Any, context: Any) -> Any:
        return script._upgrade_revs(to, found)

    from alembic.runtime.environment import EnvironmentContext

    with EnvironmentContext(_config(), script, fn=revisions, starting_rev=starting_from) as environment:
        configure(environment)
        with environment.begin_transaction():
            environment.run_migrations()


def _refuse_strangers(connection: Connection, before: str | None) -> None:
    if before is not None and before not in _known():
        raise SchemaMismatch(f"schema is at {before}, newer than this release ({head()}). Upgrade the package.")
    if is_legacy(connection):
        raise SchemaMismatch(f"{NOT_OURS}. {TAKE_IT_OVER}")


NOT_OURS = "table indexing_jobs was made by another program, or a migration of it was interrupted"
TAKE_IT_OVER = "Stop what runs its jobs, back up, then: python migrate_job_queue.py"


def is_legacy(connection: Connection) -> bool:
    """Whether there is a table of jobs that is not ours, or not yet."""
    return _version(connection) is None and inspect(connection).has_table(indexing_jobs.name)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = connection.execute(select(text("version_num")).select_from(text(VERSION_TABLE))).scalar()
    return None if version is None else str(version)


@cache
def _script() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@cache
def _known() -> frozenset[str]:
    return frozenset(each.revision for each in _script().walk_revisions())
