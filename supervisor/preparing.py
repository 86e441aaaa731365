"""Before anything else, in a process of its own: is the database there, is its schema right, are the job types known?"""

from __future__ import annotations

import importlib
import select

from sqlalchemy import Engine

from backends import (
    DatabaseUnavailable,
    LaneDisagreement,
    Queue,
    SchemaMismatch,
    check,
    current,
    head,
    open_engine,
    upgrade,
)
from config import Settings, mask
from workers import boot_time

from . import plan
from .errands import Tell

UNREACHABLE, NOT_PERMITTED, BAD_SETUP = 69, 77, 78
TRY_FOR = 10.0
"""Seconds during which a database that does not answer is asked again."""


def prepare(settings: Settings, supervisor_id: str, tell: Tell) -> int:
    """Prepare the database and tell `{"database": sentence}`, or `{"problem": sentence}`; returns the exit code."""
    deadline = boot_time() + TRY_FOR
    while True:
        try:
            tell({"database": _prepare(settings, supervisor_id)})
            return 0
        except DatabaseUnavailable as error:
            problem = error
        except (SchemaMismatch, LaneDisagreement) as error:
            return _refuse(tell, str(error), BAD_SETUP)
        except PermissionError as error:
            return _refuse(tell, str(error), NOT_PERMITTED)
        if boot_time() > deadline:
            sentence = f"cannot reach {mask(settings.database_url)}: {problem}. Tried for {TRY_FOR:g} s; is the server up?"
            return _refuse(tell, sentence, UNREACHABLE)
        select.select([], [], [], 0.5)


def _refuse(tell: Tell, problem: str, code: int) -> int:
    tell({"problem": problem})
    return code


def _prepare(settings: Settings, supervisor_id: str) -> str:
    engine = open_engine(settings.database_url, **plan.worker_engine_options(settings))
    before = current(engine)
    if settings.database.auto_migrate:
        upgrade(engine)
    check(engine)
    queue = Queue(engine, plan.policies_of(settings))
    queue.register(plan.facts_of(settings), supervisor_id, settings.lock_timeout)
    for name in settings.extensions:
        _start_extension(name, engine, settings, queue)
    engine.dispose()
    return _sentence(settings, before)


def _start_extension(name: str, engine: Engine, settings: Settings, queue: Queue) -> None:
    """Have an extension do what it does at start: make the declared programs known, enqueue what is due now."""
    on_start = getattr(importlib.import_module(name), "on_start", None)
    if on_start is not None:
        on_start(engine, settings.programs, queue.enqueue)


def _sentence(settings: Settings, before: str | None) -> str:
    what = "created" if before is None else "migrated" if before != head() else "current"
    return f"{mask(settings.database_url)} · {what} · schema {head()} (head)"
