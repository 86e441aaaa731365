"""Opening a database: one function for both, with everything that makes a connection safe switched on."""

from __future__ import annotations

import os
import weakref
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from . import postgres, sqlite


class BadDatabaseUrl(ValueError):
    """The database URL cannot be used; the message says why and what would be right."""


class InheritedConnection(RuntimeError):
    """A connection opened before a fork was used after it."""


_live: weakref.WeakSet[Any] = weakref.WeakSet()
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def open_engine(
    url: str,
    *,
    pooler: str = "none",
    statement_timeout: float = 30.0,
    connect_timeout: float = 5.0,
    journal: str = "wal",
    autocheckpoint: int = 1000,
    pool_size: int = 2,
    application_name: str = "jobqueue",
) -> Engine:
    """An engine for `sqlite:///path` or `postgresql://...` (several hosts allowed); nothing is connected yet.

    Times are seconds. `pooler` is `transaction` behind PgBouncer. `journal` and `autocheckpoint` (pages; 0: never) are
    SQLite's. Raises `BadDatabaseUrl`.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        engine = sqlite.make_engine(
            rest, journal=journal, autocheckpoint=autocheckpoint, wait=connect_timeout, pool_size=pool_size
        )
    elif scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        engine = postgres.make_engine(
            f"postgresql://{rest}",
            pooler=pooler,
            statement_timeout=statement_timeout,
            connect_timeout=connect_timeout,
            pool_size=pool_size,
            application_name=application_name,
        )
    else:
        raise BadDatabaseUrl(f"{scheme or url!r} is not a database this program knows; use sqlite:///file.db or postgresql://...")
    _guard(engine)
    return engine


def _guard(engine: Engine) -> None:
    """Count live connections, and refuse those that a fork carried over."""
    _engines.add(engine)

    @event.listens_for(engine, "connect")
    def opened(connection: Any, record: Any) -> None:
        record.info["pid"] = os.getpid()
        _live.add(record)

    @event.listens_for(engine, "begin")
    def used(connection: Connection) -> None:
        if connection.connection.info.get("pid") != os.getpid():
            raise InheritedConnection("a database connection was carried over a fork; open an engine in the child")

    @event.listens_for(engine, "close")
    def closed(connection: Any, record: Any) -> None:
        _live.discard(record)


def _forget_inherited() -> None:
    for engine in list(_engines):
        engine.dispose(close=False)
    _live.clear()


os.register_at_fork(after_in_child=_forget_inherited)


def open_connections() -> int:
    """How many database connections this process holds open."""
    return len(_live)


def is_unavailable(error: BaseException) -> bool:
    """Whether an error means that the database could not be reached, did not answer in time, is read-only, locked or full."""
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or sqlite.is_unavailable(error.orig) or postgres.is_unavailable(error.orig)
