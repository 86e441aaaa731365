"""News from the database that there may be work: hints only, polling is the floor.

Postgres notifies on each INSERT; SQLite has no such thing, so its `data_version` is looked at, which costs microseconds
and changes only when another connection has committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Engine

from .dialects import one_writer
from .postgres import Listener, listen
from .sqlite import data_version

PING_EVERY = 10.0
"""Seconds after which a watch makes sure that it listens to a server that takes writes: one that was demoted says nothing."""


class Watch(Protocol):
    """Where hints come from. `fileno` is readable when there may be news; None: call `poll` each `interval` seconds."""

    interval: float

    def fileno(self) -> int | None: ...
    def poll(self) -> int:
        """About how many jobs were added since the last call; 0 when nothing happened.

        Raises `DatabaseUnavailable` when nothing will be heard any more: watch again.
        """
    def close(self) -> None: ...


def watch(engine: Engine, clock: Callable[[], float] = time.monotonic) -> Watch:
    """Watch for new jobs; `clock` counts seconds. Raises what opening a connection raises."""
    if one_writer(engine):
        return _FileWatch(engine)
    listener = listen(engine, "jobqueue")
    return _NotifyWatch(listener, clock) if listener is not None else _NoWatch()


class _FileWatch:
    interval = 0.004

    def __init__(self, engine: Engine) -> None:
        self._connection = engine.connect().execution_options(jobqueue_read=True)
        self._version = self._look()

    def fileno(self) -> int | None:
        return None

    def poll(self) -> int:
        before, self._version = self._version, self._look()
        return int(before != self._version)

    def close(self) -> None:
        self._connection.close()

    def _look(self) -> int:
        return data_version(self._connection)


class _NotifyWatch:
    interval = 0.5

    def __init__(self, listener: Listener, clock: Callable[[], float]) -> None:
        self._listener, self._clock = listener, clock
        self._ping_at = clock() + PING_EVERY

    def fileno(self) -> int | None:
        return self._listener.fileno()

    def poll(self) -> int:
        if self._clock() >= self._ping_at:
            self._ping_at = self._clock() + PING_EVERY
            self._listener.ping()
        return sum(int(payload) if payload.isdecimal() else 1 for payload in self._listener.drain())

    def close(self) -> None:
        self._listener.close()


class _NoWatch:
    """Behind a transaction pooler nobody can listen: the floor alone."""

    interval = 60.0

    def fileno(self) -> int | None:
        return None

    def poll(self) -> int:
        return 0

    def close(self) -> None:
        return None
