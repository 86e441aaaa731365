"""An application's own Session: which are safe to work in, and how to work in its transaction without breaking it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, UnboundExecutionError
from sqlalchemy.orm import Session, scoped_session

from .connections import was_opened_here
from .dialects import one_writer
from .engine import as_unavailable
from .job import SchemaMismatch
from .orm import IndexingJob

AnySession = Session | scoped_session[Session]

_NO_SUCH_TABLE_OR_COLUMN = ("42P01", "42703")
_SAID_BY_SQLITE = ("no such table", "no such column", "has no column named")


class UnusableSession(TypeError):
    """The queue cannot work in this Session; the message says why and what to do."""


def session_of(db: AnySession) -> Session:
    """The Session itself, of a `scoped_session` this thread's. Raises `UnusableSession` for what is none, an AsyncSession too."""
    if isinstance(db, scoped_session):
        return db()
    if isinstance(db, Session):
        return db
    if hasattr(db, "run_sync"):
        raise UnusableSession(
            "an AsyncSession cannot be used directly; run the call in its synchronous Session:"
            " await db.run_sync(lambda session: IndexingService(session).create_indexing_job(...))"
        )
    raise UnusableSession(f"a SQLAlchemy Session is needed, not {type(db).__name__}; pass Session(engine)")


def engine_of(session: Session) -> Engine:
    """The engine on which this Session finds the queue, without connecting. Raises `UnusableSession`.

    On SQLite it must come from `open_engine`: through two SQLite libraries in one process, or past the turnstile, a second
    writer gets in and the file is damaged.
    """
    try:
        bind = session.get_bind(IndexingJob)
    except UnboundExecutionError:
        raise UnusableSession(
            "this Session knows no database for IndexingJob; give it one: Session(engine), or"
            " Session(binds={..., IndexingJob: engine})"
        ) from None
    engine = bind.engine
    if engine.dialect.name not in ("sqlite", "postgresql"):
        raise UnusableSession(f"the queue is kept in SQLite or Postgres, not in {engine.dialect.name}")
    if one_writer(engine) and not was_opened_here(engine):
        raise UnusableSession(
            "this Session's SQLite engine was made by create_engine, and two SQLite libraries on one file damage it;"
            ' make it with: from backends import open_engine; engine = open_engine("sqlite:///jobqueue.db")'
        )
    return engine


@contextmanager
def within(session: Session, reading: bool = False) -> Iterator[Connection]:
    """The connection of the Session's transaction, inside a savepoint: an error takes back what was written, no more.

    What the Session holds is flushed before. Raises what `engine_of` does, `DatabaseUnavailable`, and `SchemaMismatch` when
    the queue's tables are not there.
    """
    engine_of(session)
    session.flush()
    with as_unavailable():
        connection = session.connection({"mapper": IndexingJob})
        _refuse_unfit(connection, reading)
        with _as_mismatch(), connection.begin_nested():
            yield connection


@contextmanager
def beside(session: Session) -> Iterator[Connection]:
    """A connection to read from: the Session's when it is in a transaction, else one of its engine's, only for now.

    So that asking a question leaves no transaction open, which on SQLite would keep all others from writing.
    """
    engine = engine_of(session)
    if session.in_transaction() or not isinstance(session.get_bind(IndexingJob), Engine):
        with within(session, reading=True) as connection:
            yield connection
        return
    with as_unavailable(), _as_mismatch(), engine.connect().execution_options(jobqueue_read=True) as connection:
        yield connection


def _refuse_unfit(connection: Connection, reading: bool) -> None:
    if connection.get_execution_options().get("jobqueue_read") and not reading:
        raise UnusableSession(
            "this Session reads only (jobqueue_read=True); change jobs in one on the engine that open_engine gave"
        )
    driver = connection.connection.dbapi_connection
    if not one_writer(connection) and driver and connection.dialect.detect_autocommit_setting(driver):
        raise UnusableSession(
            "this Session's connection commits each statement by itself, so a job could not be part of its transaction;"
            " make its engine without isolation_level='AUTOCOMMIT'"
        )


@contextmanager
def _as_mismatch() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if _is_schema(error.orig):
            words = str(error.orig).strip().splitlines()[0]
            raise SchemaMismatch(
                f"the queue's tables are not there, or of an older release ({words}); run: python migrate_job_queue.py"
            ) from error
        raise


def _is_schema(error: BaseException | None) -> bool:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state in _NO_SUCH_TABLE_OR_COLUMN or (state is None and any(words in str(error) for words in _SAID_BY_SQLITE))
