"""What requests are answered with: the configuration and the queue, opened at the first need and tried again after a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from fastapi import Request
from sqlalchemy import Connection

from backends import DatabaseUnavailable, Queue, as_unavailable, check, open_engine
from config import Api, ConfigError, Loaded, Settings, find_config, load

DEFAULTS = Api()
THREADS = 16
"""Requests that one API process answers at the same time; each holds one database connection at the most."""

PROBES = 2
"""Probes that look at the database at the same time."""

POOL = THREADS + PROBES
"""Database connections that one API process keeps at most idle: for its requests, and for the probes."""

LONGEST_STATEMENT = 10.0
"""Seconds that a statement for a request may take, whatever the workers' may: somebody waits for the answer."""


class ProcessorStatus(Protocol):
    """How a processor is."""

    @property
    def process_id(self) -> str | None:
        """Its name."""

    @property
    def running(self) -> bool:
        """Whether it works."""

    @property
    def thread_alive(self) -> bool:
        """Whether the thread that watches it lives."""

    @property
    def shutdown_requested(self) -> bool:
        """Whether it was asked to stop, and has not started again since."""


class Processor(Protocol):
    """What works the queue off for this API."""

    @property
    def draining(self) -> bool:
        """Whether it is about to end, and this API with it."""

    def open(self) -> None:
        """Have it run, from now on for as long as the API does."""

    def close(self) -> None:
        """Let it go, drained."""

    def start(self) -> bool:
        """Start it; False when it was running."""

    def stop(self, wait: bool = True) -> bool:
        """Drain and stop it; False when it was not running."""

    def status(self) -> ProcessorStatus:
        """How it is."""


class Services:
    """One for each application, for all its threads. Opening fails as `config.load`, `open_engine` and `check` do."""

    def __init__(self, read: Callable[[], Loaded] | None = None, processor: Processor | None = None) -> None:
        self._read = read or (lambda: load(find_config(None)))
        self.processor = processor
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._loaded: Loaded | None = None
        self._queue: Queue | None = None
        self._failure, self._failed_at = "", 0.0

    @property
    def draining(self) -> bool:
        """Whether this API is about to end, because the supervisor that serves it is."""
        return self.processor is not None and self.processor.draining

    @property
    def loaded(self) -> Loaded:
        """The configuration. Raises `config.ConfigError`. Never waits for a database that is just being opened."""
        with self._reading:
            if self._loaded is None:
                self._loaded = self._read()
            return self._loaded

    @property
    def settings(self) -> Settings:
        """What the operator said. Raises `config.ConfigError`."""
        return self.loaded.settings

    @property
    def api(self) -> Api:
        """What the operator said about the API; the defaults as long as the configuration cannot be used."""
        try:
            return self.settings.api
        except ConfigError:
            return DEFAULTS

    @property
    def queue(self) -> Queue:
        """The queue, its schema checked once. Raises `DatabaseUnavailable`, `SchemaMismatch`, `BadDatabaseUrl`.

        One thread opens it. Those that waited meanwhile are told what it was told, instead of trying one after the other.
        """
        settings, asked_at = self.settings, time.monotonic()
        with self._lock:
            if self._queue is None:
                if asked_at < self._failed_at:
                    raise DatabaseUnavailable(self._failure)
                self._queue = self._open(settings)
            return self._queue

    def _open(self, settings: Settings) -> Queue:
        options = settings.database.model_dump(exclude={"auto_migrate"}) | {
            "key_file": settings.encryption.key_file,
            "statement_timeout": min(LONGEST_STATEMENT, settings.database.statement_timeout),
        }
        engine = open_engine(settings.database_url, pool_size=POOL, application_name="jobqueue api", **options)
        try:
            check(engine)
        except BaseException as error:
            engine.dispose()
            if isinstance(error, DatabaseUnavailable):
                self._failure, self._failed_at = str(error), time.monotonic()
            raise
        return Queue(engine)

    @contextmanager
    def change(self) -> Iterator[Connection]:
        """A transaction in which one request changes something, and its audit is written."""
        with as_unavailable(), self.queue.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            if self._queue is not None:
                self._queue.engine.dispose()
                self._queue = None


def services_of(request: Request) -> Services:
    """The services of the application that answers this request."""
    services: Services = request.app.state.services
    return services
