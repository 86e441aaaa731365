"""What this package gives to the supervisor, which finds it by the name written under `extensions` in jobqueue.yaml."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from backends import NewJob, Status, indexing_jobs, programs

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


def on_start(engine: Engine, declared: Sequence[Mapping[str, Any]], enqueue: Enqueue, is_first: bool) -> list[str]:
    """Store the programs that jobqueue.yaml declares, and enqueue a scan of those with `index: on_start`.

    `declared` holds the entries of `programs`; `enqueue` adds a job in the given transaction and returns its id. `is_first`:
    no other supervisor of this database runs; beside others only programs are scanned of which no scan is known. A program
    whose scan is pending or running already gets no second one, however many start at the same moment. Returns what was
    done, in sentences; a program that cannot be stored is such a sentence too, and keeps no other from being stored.
    """
    said: list[str] = []
    for each in declared:
        try:
            said += _bring_in(engine, each, enqueue, is_first)
        except IntegrityError:  # another supervisor, which starts at this moment, stored it first
            said += _bring_in(engine, each, enqueue, is_first)
        except BadProgram as error:
            said.append(str(error))
    return said


def _bring_in(engine: Engine, declared: Mapping[str, Any], enqueue: Enqueue, is_first: bool) -> list[str]:
    with engine.begin() as connection:
        stored = declare_program(connection, declared)
        is_wanted = declared.get("index") == "on_start"
        return [stored, *(_scan(connection, declared, enqueue, is_first) if is_wanted else [])]


def _scan(connection: Connection, declared: Mapping[str, Any], enqueue: Enqueue, is_first: bool) -> list[str]:
    connection.execute(select(programs.c.id).where(programs.c.id == declared["id"]).with_for_update())  # one after the other
    waiting = _scan_of(connection, declared["id"], Status.PENDING, Status.RUNNING)
    if waiting is not None:
        return [f"job {waiting} is to scan program {declared['id']} already"]
    if not is_first and _scan_of(connection, declared["id"], *Status) is not None:
        return []
    number = enqueue(NewJob(FIRST_JOB, declared["id"]), connection)
    return [f"job {number} will scan program {declared['id']} ({declared['name']})"]


def _scan_of(connection: Connection, program_id: int, *statuses: Status) -> int | None:
    """A scan of the whole program that is in one of these statuses."""
    job = indexing_jobs.c
    scans = select(job.id).where(
        job.program_id == program_id,
        job.job_type == FIRST_JOB,
        job.folder_id.is_(None),
        job.status.in_([status.value for status in statuses]),
    )
    return connection.scalar(scans.limit(1))
