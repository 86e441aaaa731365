"""What requests are answered with: the configuration and the queue, opened at the first need and tried again after a failure."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fastapi import Request

from backends import Queue, check, open_engine
from config import Api, ConfigError, Loaded, Settings, find_config, load

DEFAULTS = Api()
POOL = 16
"""Database connections that one API process keeps at most idle."""


class Services:
    """One for each application, for all its threads. Opening fails as `config.load`, `open_engine` and `check` do."""

    def __init__(self, read: Callable[[], Loaded] | None = None) -> None:
        self._read = read or (lambda: load(find_config(None)))
        self._lock = threading.Lock()
        self._loaded: Loaded | None = None
        self._queue: Queue | None = None

    @property
    def loaded(self) -> Loaded:
        """The configuration. Raises `config.ConfigError`."""
        with self._lock:
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
        """The queue, its schema checked once. Raises `DatabaseUnavailable`, `SchemaMismatch`, `BadDatabaseUrl`."""
        settings = self.settings
        with self._lock:
            if self._queue is None:
                options = settings.database.model_dump(exclude={"auto_migrate"}) | {"key_file": settings.encryption.key_file}
                engine = open_engine(settings.database_url, pool_size=POOL, application_name="jobqueue api", **options)
                try:
                    check(engine)
                except BaseException:
                    engine.dispose()
                    raise
                self._queue = Queue(engine)
            return self._queue

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
