"""What the operator's settings mean to the processes: pure translations, each in one place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backends import JobTypeFacts, RetryPolicy, Status
from config import Settings, needs_restart
from workers import HandlerSpec, WorkerSettings

from .limits import Limits
from .restarts import RestartPolicy

SPARE_PLACES = 16
"""How many workers may be added by signal to those the file asks for."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this supervisor is. `id` is never used twice; the host name and the pid are labels."""

    id: str
    host: str
    pid: int
    started_at: datetime


def open_files_for(workers: int) -> int:
    """How many files a supervisor of so many workers may have open: two for each place, one for each child, its own."""
    return 2 * (workers + SPARE_PLACES) + workers + 24


def limits_of(settings: Settings) -> Limits:
    """How long anything may take."""
    return Limits(
        lock_timeout=settings.lock_timeout,
        heartbeat_interval=settings.heartbeat_interval,
        poll_interval=settings.poll_interval,
        ready_timeout=settings.supervision.ready_timeout,
    )


def restarts_of(settings: Settings) -> RestartPolicy:
    """How dead workers are replaced."""
    supervision = settings.supervision
    return RestartPolicy(
        initial=supervision.restart_backoff.initial,
        most=supervision.restart_backoff.max,
        budget=supervision.crash_limit.count,
        window=supervision.crash_limit.window,
    )


def policies_of(settings: Settings) -> dict[str, RetryPolicy]:
    """How each job type is retried."""
    return {name: RetryPolicy(**kind.retry.model_dump()) for name, kind in settings.job_types.items()}


def facts_of(settings: Settings) -> dict[str, JobTypeFacts]:
    """What the database must know of each job type."""
    return {name: JobTypeFacts(kind.lane, kind.retry.max_retries) for name, kind in settings.job_types.items()}


def handlers_of(settings: Settings) -> tuple[HandlerSpec, ...]:
    """What the workers run."""
    return tuple(HandlerSpec(name, kind.handler, kind.timeout) for name, kind in settings.job_types.items())


def retention_of(settings: Settings) -> dict[Status, float]:
    """How long finished jobs are kept, in seconds."""
    return {Status(name): seconds for name, seconds in settings.retention.model_dump().items()}


def process_ids_of(settings: Settings, host: str, places: int) -> tuple[str, ...]:
    """The names of all places."""
    return settings.workers.model_copy(update={"count": places}).named(host)


def worker_settings(settings: Settings, process_id: str, slot_index: int, incarnation: int) -> WorkerSettings:
    """What one life of a worker needs to know."""
    return WorkerSettings(
        process_id=process_id,
        slot_index=slot_index,
        incarnation=incarnation,
        database_url=settings.database_url,
        engine_options=worker_engine_options(settings) | {"make": False},
        handlers=handlers_of(settings),
        policies=policies_of(settings),
        heartbeat_interval=settings.heartbeat_interval,
        lock_timeout=settings.lock_timeout,
        poll_interval=settings.poll_interval,
    )


def why_not_reload(running: Settings, wanted: Settings, places: int) -> list[str]:
    """Why a reload cannot bring these settings; empty when it can."""
    if keys := needs_restart(running, wanted):
        return [f"these settings take effect only after `supervisor restart`, nothing was changed: {', '.join(keys)}"]
    if wanted.workers.count > places:
        return [f"workers.count: {wanted.workers.count} needs `supervisor restart`; until then at most {places} can run"]
    return []


def worker_engine_options(settings: Settings) -> dict[str, Any]:
    """How workers open the database: no statement takes so long that the worker looks hung."""
    return _engine_options(settings, "jobqueue worker", settings.lock_timeout / 4)


def maintenance_engine_options(settings: Settings) -> dict[str, Any]:
    """How maintenance opens it: each of its threads must show a sign of life between two statements."""
    return _engine_options(settings, "jobqueue maintenance", settings.lock_timeout / 6) | {"make": False}


def _engine_options(settings: Settings, name: str, longest_statement: float) -> dict[str, Any]:
    """SQLite's log is moved into the database by maintenance alone, so that no commit ever has to wait for it.

    The file is made before any of them starts: one that is missing later was taken away.
    """
    database = settings.database
    return {
        "pooler": database.pooler,
        "journal": database.journal,
        "autocheckpoint": 0,
        "application_name": name,
        "statement_timeout": min(database.statement_timeout, longest_statement),
        "connect_timeout": min(database.connect_timeout, settings.lock_timeout / 6),
        "key_file": settings.encryption.key_file,
    }
