"""What a caller may do in a program: decided in the database, in the transaction of what they do."""

from __future__ import annotations

from sqlalchemy import Connection, literal, select

from backends import Role, indexing_jobs

from .callers import Caller
from .problems import Forbidden, NotFound

job = indexing_jobs.c


def require(connection: Connection, caller: Caller, program_id: int, role: Role = Role.VIEWER) -> None:
    """Raise `NotFound` unless the caller sees the program, `Forbidden` unless they have the role in it.

    Administrators see every id, whether there is anything under it or not.
    """
    program = literal(program_id)
    seen, may = caller.scope().holds_for(program), caller.scope(role).holds_for(program)
    row = connection.execute(select(seen.label("seen"), may.label("may"))).one()
    _judge(bool(row.seen), bool(row.may), role)


def program_of(connection: Connection, caller: Caller, job_id: int, role: Role) -> int:
    """The program of a job. Raises `NotFound` and `Forbidden` as `require` does."""
    may = caller.scope(role).holds_for(job.program_id).label("may")
    seen = caller.scope().holds_for(job.program_id)
    row = connection.execute(select(job.program_id, may).where(job.id == job_id, seen)).first()
    _judge(row is not None, row is not None and bool(row.may), role)
    assert row is not None
    return int(row.program_id)


def require_administrator(caller: Caller) -> None:
    """Raise `Forbidden` unless the caller administers the installation."""
    if not caller.is_admin:
        raise Forbidden("an administrator of this installation")


def _judge(seen: bool, may: bool, role: Role) -> None:
    if not seen:
        raise NotFound
    if not may:
        raise Forbidden(f"the role {role} in the program")
