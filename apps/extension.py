"""What this package gives to the supervisor, which finds it by the name written under `extensions` in jobqueue.yaml."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection, Engine

from backends import NewJob, Status, indexing_jobs

from .access.memberships import grant, members, revoke
from .access.tokens import create_token, find_tokens, list_tokens, revoke_token
from .access.users import add_user, disable_user, enable_user, find_user, list_users
from .programs import BadProgram, Program, add_program, declare_program, list_programs
from .search import BadQuery, search_files

__all__ = [
    "BadProgram",
    "BadQuery",
    "Program",
    "add_program",
    "add_user",
    "create_token",
    "disable_user",
    "enable_user",
    "find_tokens",
    "find_user",
    "grant",
    "list_programs",
    "list_tokens",
    "list_users",
    "members",
    "on_start",
    "revoke",
    "revoke_token",
    "search_files",
]

Enqueue = Callable[[NewJob, Connection], int]

FIRST_JOB = "full_scan"


def on_start(engine: Engine, declared: Sequence[Mapping[str, Any]], enqueue: Enqueue) -> list[str]:
    """Store the programs that jobqueue.yaml declares, and enqueue a scan of those with `index: on_start`.

    `declared` holds the entries of `programs`; `enqueue` adds a job in the given transaction and returns its id.
    A program whose scan is pending or running already gets no second one. Returns what was done, in sentences; a program
    that cannot be stored is such a sentence too, and keeps no other from being stored.
    """
    said: list[str] = []
    for each in declared:
        try:
            with engine.begin() as connection:
                said += [declare_program(connection, each), *_scan(connection, each, enqueue)]
        except BadProgram as error:
            said.append(str(error))
    return said


def _scan(connection: Connection, declared: Mapping[str, Any], enqueue: Enqueue) -> list[str]:
    if declared.get("index") != "on_start":
        return []
    waiting = _unfinished_scan(connection, declared["id"])
    if waiting is not None:
        return [f"job {waiting} is to scan program {declared['id']} already"]
    number = enqueue(NewJob(FIRST_JOB, declared["id"]), connection)
    return [f"job {number} will scan program {declared['id']} ({declared['name']})"]


def _unfinished_scan(connection: Connection, program_id: int) -> int | None:
    job = indexing_jobs.c
    unfinished = select(job.id).where(
        job.program_id == program_id,
        job.job_type == FIRST_JOB,
        job.folder_id.is_(None),
        job.status.in_([Status.PENDING.value, Status.RUNNING.value]),
    )
    return connection.scalar(unfinished.limit(1))
