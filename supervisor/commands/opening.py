"""From what was typed to an open queue: the configuration file, the engine, the schema; each with its own error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .problems import Exit, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from backends import DatabaseUnavailable, Queue
    from config import Loaded, Settings


@dataclass(frozen=True, slots=True)
class Opened:
    """An open queue, and the configuration that says where it is."""

    loaded: Loaded
    queue: Queue

    @property
    def settings(self) -> Settings:
        """What the operator said."""
        return self.loaded.settings

    def why(self, job_id: int) -> list[str] | None:
        """What a job waits for, by this configuration's idea of who is alive; None when there is no such job."""
        return self.queue.why(job_id, self.settings.lock_timeout)


def load(file: Path | None, overrides: Mapping[str, object] | None = None) -> Loaded:
    """Read the configuration, found as the documentation says. Raises `config.ConfigError`."""
    import config

    return config.load(config.find_config(str(file) if file else None), overrides=overrides or {})


@contextmanager
def open_queue(file: Path | None) -> Iterator[Opened]:
    """The queue of this configuration, its schema checked; every way in which that fails is a `Problem`."""
    from backends import Queue, check

    loaded = load(file)
    with open_database(loaded.settings) as engine:
        check(engine)
        yield Opened(loaded, Queue(engine))


@contextmanager
def open_database(settings: Settings) -> Iterator[Engine]:
    """The engine of these settings, closed at the end; the schema is not looked at."""
    from backends import DatabaseUnavailable, SchemaMismatch, open_engine

    try:
        engine = open_engine(settings.database_url, **engine_options(settings))
        try:
            yield engine
        finally:
            engine.dispose()
    except DatabaseUnavailable as error:
        raise unreachable(settings.database_url, error) from error
    except SchemaMismatch as error:
        raise Problem("DB-SCHEMA", str(error), "supervisor db upgrade", Exit.BAD_CONFIGURATION) from error


def engine_options(settings: Settings) -> dict[str, Any]:
    """How a command opens the database: as the operator said, with nobody waiting for a sign of life."""
    return settings.database.model_dump(exclude={"auto_migrate"})


def unreachable(url: str, error: DatabaseUnavailable) -> Problem:
    """The problem of a database that does not answer, with its URL but not its password."""
    from config import mask

    reason = " ".join(mask(str(error)).split())
    what = f"cannot use {mask(url)}: {reason}"
    return Problem(
        "DB-UNREACHABLE",
        what,
        "Is the server up, and the URL right? Test: supervisor db check",
        Exit.DATABASE_UNREACHABLE,
    )
