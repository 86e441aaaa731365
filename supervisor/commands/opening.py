"""From what was typed to an open queue: the configuration file, the engine, the schema; each with its own error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .problems import Exit, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.exc import DBAPIError

    from backends import Queue, SchemaMismatch
    from config import Loaded, Settings


NOT_PERMITTED = "42501"
"""SQLSTATE insufficient_privilege."""


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
    """Read the configuration, found as the documentation says; handlers may stand beside it. Raises `config.ConfigError`."""
    import config

    loaded = config.load(config.find_config(str(file) if file else None), overrides=overrides or {})
    beside = str(loaded.path.parent)
    if beside not in sys.path:
        sys.path.append(beside)  # behind everything else: a file of the operator's must not hide a package
    return loaded


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
    from sqlalchemy.exc import DBAPIError

    from backends import BadDatabaseUrl, DatabaseUnavailable, SchemaMismatch, open_engine

    url = settings.database_url
    try:
        engine = open_engine(url, **engine_options(settings))
        try:
            yield engine
        finally:
            engine.dispose()
    except DatabaseUnavailable as error:
        raise unreachable(url, error) from error
    except DBAPIError as error:
        raise refusal(url, error) from error
    except SchemaMismatch as error:
        raise Problem(
            "DB-SCHEMA", str(error), "Back up, then: supervisor db upgrade", Exit.BAD_CONFIGURATION
        ) from error
    except BadDatabaseUrl as error:
        raise Problem("DB-URL", str(error), "Correct database_url.", Exit.BAD_CONFIGURATION) from error


def engine_options(settings: Settings) -> dict[str, Any]:
    """How a command opens the database: as the operator said, with nobody waiting for a sign of life."""
    return settings.database.model_dump(exclude={"auto_migrate"})


def unreachable(url: str, error: Exception) -> Problem:
    """The problem of a database that does not answer, with its URL but not its password."""
    what = f"cannot use {_without_secrets(url)}: {_without_secrets(error)}"
    fix = "Is the server up, and the URL right? Test: supervisor db check"
    return Problem("DB-UNREACHABLE", what, fix, Exit.DATABASE_UNREACHABLE)


def refusal(url: str, error: DBAPIError) -> Problem:
    """The problem behind a driver's error: not reachable, not permitted, or refused."""
    from backends import is_unavailable

    if is_unavailable(error):
        return unreachable(url, error.orig or error)
    what = f"{_without_secrets(url)}: {_without_secrets(error.orig)}"
    if getattr(error.orig, "sqlstate", "") == NOT_PERMITTED:
        return Problem("DB-PERMISSION", what, "Run it as the owner of the tables, or grant it.", Exit.PERMISSION)
    return Problem("DB-ERROR", what, "supervisor doctor")


def mismatch(error: SchemaMismatch) -> Problem:
    """The problem of a schema that is not the one needed; the error's own last sentence says what to do."""
    what, _, fix = str(error).partition(". ")
    return Problem("DB-SCHEMA", what, fix, Exit.BAD_CONFIGURATION)


def _without_secrets(what: object) -> str:
    from config import mask

    return " ".join(mask(str(what)).split())
