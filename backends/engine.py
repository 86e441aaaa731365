"""Opening a database: one function for both, with everything that makes a connection safe switched on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, TimeoutError

from . import postgres, sqlite
from .connections import BadDatabaseUrl, InheritedConnection, open_connections, remember_engine
from .job import DatabaseUnavailable
from .keys import remember_keyring

__all__ = ["BadDatabaseUrl", "InheritedConnection", "as_unavailable", "is_unavailable", "open_connections", "open_engine"]


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
    key_file: Path | None = None,
    make: bool = True,
) -> Engine:
    """An engine for `sqlite:///path` or `postgresql://...` (several hosts allowed); nothing is connected yet.

    Times are seconds; on SQLite `connect_timeout` is also the longest wait for one's turn to write. `pooler` is
    `transaction` behind PgBouncer. `journal` (`wal`, `rollback`, or `unchanged`: whatever the file has) and `autocheckpoint`
    (pages; 0: never) are SQLite's. `key_file` holds the keys for
    secrets, unless the environment does (see `keys`). `make`: a SQLite file that is missing is made. Raises `BadDatabaseUrl`.
    An engine works only in the process that opened it; in a forked child it raises `InheritedConnection`.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" and separator:
        engine = sqlite.make_engine(
            rest, journal=journal, autocheckpoint=autocheckpoint, wait=connect_timeout, pool_size=pool_size, make=make
        )
    elif scheme in ("postgresql", "postgres", "postgresql+psycopg") and separator:
        engine = postgres.make_engine(
            f"postgresql://{rest}",
            pooler=pooler,
            statement_timeout=statement_timeout,
            connect_timeout=connect_timeout,
            pool_size=pool_size,
            application_name=application_name,
        )
    else:
        named = f"{scheme!r} is not a database this program knows" if separator else "this is not a database URL"
        raise BadDatabaseUrl(f"{named}; use sqlite:///file.db or postgresql://user@host/database")
    remember_engine(engine)
    remember_keyring(engine, key_file)
    return engine


def is_unavailable(error: BaseException) -> bool:
    """Whether an error means that the database could not be reached, did not answer in time, is read-only, locked or full."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or is_unavailable(error.orig or Exception())
    if isinstance(error, DatabaseUnavailable | TimeoutError):
        return True
    return sqlite.is_unavailable(error) or postgres.is_unavailable(error)


@contextmanager
def as_unavailable() -> Iterator[None]:
    """Raise `DatabaseUnavailable`, with the driver's words, for an error for which `is_unavailable` says so."""
    try:
        yield
    except DatabaseUnavailable:
        raise
    except Exception as error:
        if is_unavailable(error):
            raise DatabaseUnavailable(str(getattr(error, "orig", error)).strip()) from error
        raise
