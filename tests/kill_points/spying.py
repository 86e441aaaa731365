"""A spy in a process: knows each statement that its drivers send, writes it down, and kills the process at a chosen one.

It sits below SQLAlchemy, at the drivers, so that BEGIN, COMMIT, the drivers' own statements and autocommit are seen, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg.waiting import Wait

from backends.postgres import BoundedConnection
from backends.sqlite import TurnConnection, driver


class Moment(StrEnum):
    """When the process dies: before the statement leaves it, when the server has it, or with the answer in hand."""

    BEFORE = "before"
    SENT = "sent"
    AFTER = "after"


class Statement(NamedTuple):
    """One statement of a run: the thread that sent it, its text's digest, and the how manieth of that text in that thread.

    So named it is the same in every run, whatever other threads do in between.
    """

    thread: str
    digest: str
    nth: int


class Seen(NamedTuple):
    """A statement, its first words, whether it commits (a COMMIT, or outside of a transaction), its digest with its values."""

    statement: Statement
    words: str
    commits: bool
    whole: str


class Point(NamedTuple):
    """Where a run is killed."""

    seen: Seen
    moment: Moment

    def __str__(self) -> str:
        thread, _, nth = self.seen.statement
        return f"{self.moment} statement {nth} of thread {thread} that reads {self.seen.words!r}"


class Spy:
    """Writes each statement to a file, and kills its process at `point`."""

    def __init__(self, file: Path, point: Point | None = None) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._point = point
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def before(self, text: str, commits: bool = False, values: Any = ()) -> Statement:
        """A statement is about to be sent."""
        thread, digest = threading.current_thread().name.partition("-")[0], _digest(text)
        with self._lock:
            self._counts[thread, digest] += 1
            statement = Statement(thread, digest, self._counts[thread, digest])
            seen = Seen(statement, " ".join(text.split())[:60], commits, _digest(f"{text} {values!r}"))
            os.write(self._file, json.dumps(seen).encode() + b"\n")
        self.at(statement, Moment.BEFORE)
        return statement

    def at(self, statement: Statement, moment: Moment) -> None:
        """Die, if this is the point."""
        if self._point is not None and (self._point.seen.statement, self._point.moment) == (statement, moment):
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, text: str, call: Callable[[], Any], commits: bool = False, values: Any = ()) -> Any:
        """Do what sends one statement and waits for its answer."""
        statement = self.before(text, commits, values)
        answer = call()
        self.at(statement, Moment.AFTER)
        return answer

    def each(self, text: str, rows: Iterable[Any]) -> Iterator[Any]:
        """The rows of an `executemany`: each is a statement of its own."""
        for row in rows:
            statement = self.before(text, values=row)
            yield row
            self.at(statement, Moment.AFTER)

    def waiting(self, text: str, commits: bool, exchange: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Psycopg's exchange of one statement with the server; once it waits for an answer, the statement is sent."""
        statement = self.before(text, commits)
        try:
            wanted = next(exchange)
            while True:
                if wanted == Wait.R:
                    self.at(statement, Moment.SENT)
                wanted = exchange.send((yield wanted))
        except StopIteration as over:
            self.at(statement, Moment.AFTER)
            return over.value


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def read_seen(file: Path) -> list[Seen]:
    """What a spy wrote down."""
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [Seen(Statement(*statement), *rest) for statement, *rest in lines]


def points_of(seen: Iterable[Seen], on_postgres: bool) -> list[Point]:
    """Before and after each statement; on Postgres also while the server works on one that commits."""
    points = []
    for each in seen:
        points += [Point(each, Moment.BEFORE)]
        points += [Point(each, Moment.SENT)] if on_postgres and each.commits else []
        points += [Point(each, Moment.AFTER)]
    return points


def spy_on_sqlite(spy: Spy, trace: Path | None = None) -> None:
    """Have every connection of this process spied on; SQLite itself writes a line for each statement to `trace`."""

    class Cursor(driver.Cursor):  # type: ignore[misc]
        def execute(self, text: str, *parameters: Any) -> Any:
            return spy.around(text, lambda: super(Cursor, self).execute(text, *parameters), values=parameters)

        def executemany(self, text: str, rows: Iterable[Any]) -> Any:
            return super().executemany(text, spy.each(text, rows))

    commit, rollback, connect = TurnConnection.commit, TurnConnection.rollback, driver.connect

    def spied_commit(self: TurnConnection) -> None:
        spy.around("COMMIT", lambda: commit(self), True) if self.in_transaction else commit(self)

    def spied_rollback(self: TurnConnection) -> None:
        spy.around("ROLLBACK", lambda: rollback(self)) if self.in_transaction else rollback(self)

    def traced(*arguments: Any, **keywords: Any) -> Any:
        connection = connect(*arguments, **keywords)
        if trace is not None:
            log = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            connection.set_trace_callback(lambda text: os.write(log, text.replace("\n", " ").encode() + b"\n"))
        return connection

    TurnConnection.cursor = lambda self, factory=Cursor: driver.Connection.cursor(self, factory)
    TurnConnection.commit, TurnConnection.rollback = spied_commit, spied_rollback  # type: ignore[method-assign]
    driver.connect = traced


def spy_on_postgres(spy: Spy) -> None:
    """Have every connection of this process spied on."""

    class Cursor(psycopg.Cursor[Any]):
        def _maybe_prepare_gen(self, pgq: Any, **keywords: Any) -> Generator[Any, Any, Any]:
            exchange = super()._maybe_prepare_gen(pgq, **keywords)
            return spy.waiting(pgq.query.decode(), self.connection.autocommit, exchange)

    made, command = BoundedConnection.__init__, BoundedConnection._exec_command

    def spied(self: BoundedConnection, *arguments: Any, **keywords: Any) -> None:
        made(self, *arguments, **keywords)
        self.cursor_factory = Cursor

    def spied_command(self: BoundedConnection, text: bytes, *arguments: Any) -> Generator[Any, Any, Any]:
        return spy.waiting(text.decode(), text == b"COMMIT", command(self, text, *arguments))

    BoundedConnection.__init__ = spied  # type: ignore[method-assign]
    BoundedConnection._exec_command = spied_command  # type: ignore[assignment]
