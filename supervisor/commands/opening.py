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

    from backends import Queue
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
def open_database(settings: Settings, **options: Any) -> Iterator[Engine]:
    """The engine of these settings, closed at the end; the schema is not looked at. `options` go before the settings."""
    from backends import open_engine

    url = settings.database_url
    try:
        engine = open_engine(url, **engine_options(settings) | options)
        try:
            yield engine
        finally:
            engine.dispose()
    except Exception as error:
        problem = problem_of(error, url)
        if problem is None:
            raise
        raise problem from error


def engine_options(settings: Settings) -> dict[str, Any]:
    """How a command opens the database: as the operator said, with nobody waiting for a sign of life."""
    return settings.database.model_dump(exclude={"auto_migrate"}) | {"key_file": settings.encryption.key_file}


def problem_of(error: Exception, url: str = "the database") -> Problem | None:
    """The problem behind an error of a database: unreachable, not permitted, not as needed; None for any other error."""
    from sqlalchemy.exc import DBAPIError

    from backends import is_unavailable

    from ..refusals import refusal

    where = _without_secrets(url)
    refused = refusal(error)
    if is_unavailable(error) and not refused:
        what = f"cannot use {where}: {_without_secrets(getattr(error, 'orig', None) or error)}"
        fix = "Is the server up, and the URL right? Test: supervisor db check"
        return Problem("DB-UNREACHABLE", what, fix, Exit.DATABASE_UNREACHABLE)
    if isinstance(error, DBAPIError):
        what = f"{where}: {_without_secrets(error.orig)}"
        if refused:
            return Problem(refused[0], what, "Run it as the owner of the tables, or grant it.", Exit(refused[1]))
        return Problem("DB-ERROR", what, "supervisor doctor")
    return Problem(refused[0], *_cause_and_fix(error), Exit(refused[1])) if refused else None


def _cause_and_fix(error: Exception) -> tuple[str, str]:
    """The two halves of an error that says what to do in its last sentence."""
    said = _without_secrets(error)
    for mark in (". ", "; "):
        what, found, fix = said.partition(mark)
        if found:
            return what, fix[0].upper() + fix[1:]
    return said, ""


def _without_secrets(what: object) -> str:
    from config import mask

    return " ".join(mask(str(what)).split())
