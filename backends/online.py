"""Changing a Postgres table that others read and write: locks asked for briefly and again, indexes beside the traffic."""

from __future__ import annotations

import itertools
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from .job import DatabaseUnavailable
from .postgres import BoundedConnection, allow

T = TypeVar("T")

log = logging.getLogger("jobqueue.backends")

LONGEST_CHANGE = 600.0
"""Seconds for one statement in a transaction, for a turn among upgrades, and for the tries to get one lock."""

BRIEFLY, BEYOND_AUTOVACUUM = 0.25, 1.5
"""Seconds in a queue for a lock, in which everybody else queues behind us. A routine autovacuum gives way only to who waits
longer than the server's `deadlock_timeout` (1 s), so now and then we do."""

NOT_NOW = frozenset({"55P03", "40P01"})
LOCK = 0x6A6F6271  # "jobq": one key for every installation in a Postgres database
_A_DAY = 86_400.0


class IndexWanted(NamedTuple):
    """An index of `indexing_jobs`: `where` is the condition of a partial one, or empty."""

    name: str
    columns: list[str]
    where: str = ""
    unique: bool = False

    def statement(self) -> str:
        """Make it while others read and write; outside a transaction only."""
        where = f" WHERE {self.where}" if self.where else ""
        unique = "UNIQUE " if self.unique else ""
        return f"CREATE {unique}INDEX CONCURRENTLY IF NOT EXISTS {self.name} ON indexing_jobs ({', '.join(self.columns)}){where}"


@contextmanager
def turn(engine: Engine) -> Iterator[None]:
    """Be the only one who changes the schema. Raises `DatabaseUnavailable` when the turn does not come in `LONGEST_CHANGE`.

    The lock is held by an idle transaction of its own, which survives a pooler. It is asked for again and again: whoever waits
    in a statement has a snapshot, and the holder's CREATE INDEX CONCURRENTLY would wait for that.
    """
    deadline = time.monotonic() + LONGEST_CHANGE
    while True:
        with engine.connect() as connection:
            if connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": LOCK}).scalar_one():
                connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
                yield
                return
        if time.monotonic() > deadline:
            raise DatabaseUnavailable(f"another process has been changing the schema for {LONGEST_CHANGE:g} s; try again later")
        time.sleep(random.uniform(0.05, 0.2))


def briefly(engine: Engine, work: Callable[[Connection], T], patience: float = LONGEST_CHANGE) -> T:
    """`work` in a transaction that waits for no lock longer than a moment; again, until it went through.

    Raises `DatabaseUnavailable` when the locks were not to be had within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    for attempt in itertools.count(1):
        try:
            return _once(engine, work, BEYOND_AUTOVACUUM if attempt % 5 == 0 else BRIEFLY)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in NOT_NOW:
                raise
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(
                    f"indexing_jobs was in use whenever it was tried, for {patience:g} s; what was done stays done."
                    " End long transactions (they are in pg_stat_activity, with their xact_start), then run this again"
                ) from error
        time.sleep(random.uniform(0.5, 1.0) * min(attempt, 5))
    raise AssertionError("unreachable")


def _once(engine: Engine, work: Callable[[Connection], T], wait: float) -> T:
    with engine.begin() as connection:
        allow(connection, LONGEST_CHANGE)
        connection.execute(text("SELECT set_config('lock_timeout', :wait, true)"), {"wait": f"{round(wait * 1000)}ms"})
        return work(connection)


def beside_traffic(engine: Engine, statement: str) -> None:
    """A statement that must stand outside a transaction and locks nobody out, however long it takes."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT", no_parameters=True) as connection:
        own = connection.connection.driver_connection
        assert isinstance(own, BoundedConnection)
        connection.detach()  # its settings are not for others
        own.deadline = _A_DAY
        if not own.pooled:
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.exec_driver_sql("SET lock_timeout = 0")
        connection.exec_driver_sql(statement)


def build_indexes(engine: Engine, wanted: Iterable[IndexWanted]) -> None:
    """Make those that are missing, while others read and write; one left half made by an interruption is made again."""
    for each in wanted:
        build_index(engine, each.name, each.statement())


def build_index(engine: Engine, name: str, statement: str) -> None:
    """Make one index, unless it is there and whole; see `build_indexes`."""
    found = _validity(engine, name)
    if found is False:
        # Whoever was killed may have left a server process that still builds it: wait for that, then look again.
        _wait_until_nobody_builds(engine)
        found = _validity(engine, name)
    if found is False:
        beside_traffic(engine, f'DROP INDEX CONCURRENTLY "{name}"')
    if not found:
        log.info("building index %s", name)
        beside_traffic(engine, statement)


def _wait_until_nobody_builds(engine: Engine) -> None:
    with engine.begin() as connection:
        allow(connection, _A_DAY)
        connection.exec_driver_sql("LOCK TABLE indexing_jobs IN SHARE UPDATE EXCLUSIVE MODE")  # waits without a snapshot


def _validity(engine: Engine, name: str) -> bool | None:
    """Whether the index can be used; None when there is none."""
    with engine.connect() as connection:
        return connection.execute(_VALIDITY, {"name": name}).scalar()


_VALIDITY: Any = text(
    "SELECT indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
    " WHERE indrelid = 'indexing_jobs'::regclass AND relname = :name"
)
