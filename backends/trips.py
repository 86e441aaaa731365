"""How the queue's verbs reach the database: in a transaction that writes, in one that reads, or in one round trip."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from sqlalchemy.engine import Connection, Engine

from .dialects import one_writer
from .engine import as_unavailable

Answer = TypeVar("Answer")


class Trips:
    """Work on one engine's connections. What keeps the database from answering is raised as `DatabaseUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self.one_writer = one_writer(engine)
        self._engine = engine
        self._autocommit = engine if self.one_writer else engine.execution_options(isolation_level="AUTOCOMMIT")

    def write(self, work: Callable[[Connection], Answer]) -> Answer:
        """Do the work in a transaction of its own."""
        with as_unavailable(), self._engine.begin() as connection:
            return work(connection)

    def read(self, work: Callable[[Connection], Answer]) -> Answer:
        """Do the work in a transaction that takes no write lock."""
        with as_unavailable(), self._engine.connect().execution_options(jobqueue_read=True) as connection:
            return work(connection)

    def in_one(self) -> AbstractContextManager[Connection]:
        """For one statement, which on Postgres needs no BEGIN and no COMMIT of its own: it is one round trip, not three."""
        return self._engine.begin() if self.one_writer else self._autocommit.connect()
