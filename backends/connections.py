"""Which connections this process holds, and what becomes of them when it forks.

A connection belongs to the process that opened it. In a child, Postgres' would speak on the parent's socket, and SQLite's
would trust locks that the child does not have (sqlite.org/howtocorrupt.html, section 2.6).
"""

from __future__ import annotations

import os
from typing import Any, Protocol
from weakref import WeakSet

from sqlalchemy import Engine


class BadDatabaseUrl(ValueError):
    """The database URL cannot be used; the message says why and what would be right. It never holds a password."""


class InheritedConnection(RuntimeError):
    """A connection or an engine that was opened before a fork was used after it."""


class Connected(Protocol):
    """A driver's connection, as far as it is counted here."""

    @property
    def closed(self) -> Any: ...
    def leave_to_the_parent(self) -> None:
        """Called in a forked child: let go of what can be let go of without touching what the parent shares."""


_opened: WeakSet[Connected] = WeakSet()
_engines: WeakSet[Engine] = WeakSet()
_inherited: list[Connected] = []


def remember(connection: Connected) -> None:
    """Count a connection that was just opened."""
    _opened.add(connection)


def remember_engine(engine: Engine) -> None:
    """Empty this engine's pool in every child."""
    _engines.add(engine)


def open_connections() -> int:
    """How many database connections this process holds open, idle ones in pools included; 0 is what a fork needs."""
    return sum(not connection.closed for connection in list(_opened))


def was_opened_here(engine: Engine) -> bool:
    """Whether `open_engine` made this engine, or the one that it has its connections from (`execution_options`)."""
    return any(engine.pool is each.pool for each in list(_engines))


def refuse_inherited(opened_by: int) -> None:
    """Raise `InheritedConnection` unless this process is the one that opened it."""
    if opened_by != os.getpid():
        raise InheritedConnection(
            f"process {os.getpid()} uses a database connection of process {opened_by}, from which it was forked;"
            " open an engine in the child, and close the parent's before the fork"
        )


def _leave_to_the_parent() -> None:
    # Kept for ever, for the drivers' destructors would close what the parent still uses.
    _inherited.extend(connection for connection in list(_opened) if not connection.closed)
    for connection in _inherited:
        connection.leave_to_the_parent()
    _opened.clear()
    for engine in list(_engines):
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_leave_to_the_parent)
