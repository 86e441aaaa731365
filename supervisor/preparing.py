"""Before anything else, in a process of its own: are the database, its schema, the keys of secrets and the job types right?"""

from __future__ import annotations

import importlib
import select
import socket

import psutil
from sqlalchemy import Connection, Engine

from backends import (
    DatabaseUnavailable,
    NewJob,
    Queue,
    SupervisorView,
    check,
    check_keys,
    current,
    head,
    open_engine,
    refuse_unsafe_commits,
    upgrade,
)
from config import Settings, mask
from workers import boot_time

from . import plan
from .errands import Tell
from .refusals import NOT_PERMITTED, UNREACHABLE, refusal

TRY_FOR = 10.0
"""Seconds during which a database that does not answer is asked again."""


def prepare(settings: Settings, supervisor_id: str, tell: Tell, try_for: float = TRY_FOR) -> int:
    """Prepare the database and tell `{"database": sentence}`, or `{"problem": sentence, "id": its id}`; returns the exit code."""
    deadline = boot_time() + try_for
    while True:
        try:
            tell({"database": _prepare(settings, supervisor_id, tell)})
            return 0
        except Exception as error:
            if refused := _refusal(error):
                return _refuse(tell, f"{mask(settings.database_url)}: {error}", *refused)
            if not isinstance(error, DatabaseUnavailable):
                raise
            problem = error
        if boot_time() > deadline:
            sentence = f"cannot reach {mask(settings.database_url)}: {problem}. Tried for {try_for:g} s; is the server up?"
            return _refuse(tell, sentence, "DB-UNREACHABLE", UNREACHABLE)
        select.select([], [], [], 0.5)


def _refusal(error: Exception) -> tuple[str, int] | None:
    return ("PERMISSION", NOT_PERMITTED) if isinstance(error, OSError) else refusal(error)


def _refuse(tell: Tell, problem: str, id: str, code: int) -> int:
    tell({"problem": problem, "id": id})
    return code


def _prepare(settings: Settings, supervisor_id: str, tell: Tell) -> str:
    engine = open_engine(settings.database_url, **plan.worker_engine_options(settings))
    before = current(engine)
    if settings.database.auto_migrate and before != head():
        tell({"upgrading": True})
        upgrade(engine)
    check(engine)
    queue = Queue(engine, plan.policies_of(settings))
    queue.read(refuse_unsafe_commits)
    queue.read(check_keys)
    queue.register(plan.facts_of(settings), supervisor_id, settings.lock_timeout)
    is_first = not any(_lives(each) for each in queue.supervisors(settings.lock_timeout))
    for name in settings.extensions:
        for sentence in _start_extension(name, engine, settings, queue, is_first):
            tell({"extension": name, "said": sentence})
    engine.dispose()
    return _sentence(settings, before)


def _lives(other: SupervisorView) -> bool:
    """Whether it runs: one of this host that was killed a moment ago is known to be gone."""
    return other.host != socket.gethostname() or psutil.pid_exists(other.pid)


def _start_extension(name: str, engine: Engine, settings: Settings, queue: Queue, is_first: bool) -> list[str]:
    """Have an extension do what it does at start, such as storing the declared programs; what it says comes back."""
    on_start = getattr(importlib.import_module(name), "on_start", None)
    if on_start is None:
        return []

    def enqueue(job: NewJob, connection: Connection) -> int:
        return queue.enqueue([job], connection)[0]

    return list(on_start(engine, [program.model_dump() for program in settings.programs], enqueue, is_first))


def _sentence(settings: Settings, before: str | None) -> str:
    what = "created" if before is None else "migrated" if before != head() else "current"
    return f"{mask(settings.database_url)} · {what} · schema {head()} (head)"
