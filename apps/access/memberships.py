"""Memberships: what a user may do in a program."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.engine import Connection

from backends import Role, insert_for, memberships, users

member, user = memberships.c, users.c


@dataclass(frozen=True, slots=True)
class Member:
    """One membership."""

    user_id: int
    user: str
    program_id: int
    role: Role

    def as_dict(self) -> dict[str, Any]:
        """The membership for JSON."""
        return asdict(self)


def grant(connection: Connection, user_id: int, program_id: int, role: Role | str) -> None:
    """Give a user a role in a program, in place of the one they have. Raises `ValueError` for a role that is none."""
    new = insert_for(connection, memberships).values(user_id=user_id, program_id=program_id, role=Role(role).value)
    connection.execute(
        new.on_conflict_do_update(index_elements=["user_id", "program_id"], set_={"role": new.excluded.role})
    )


def revoke(connection: Connection, user_id: int, program_id: int) -> bool:
    """Take a user out of a program; False when they were not in it."""
    mine = delete(memberships).where(member.user_id == user_id, member.program_id == program_id)
    return connection.execute(mine).rowcount == 1


def role_of(connection: Connection, user_id: int, program_id: int) -> Role | None:
    """What a user may do in a program; None when they are not in it, or disabled."""
    found = (
        select(member.role)
        .join(users, user.id == member.user_id)
        .where(member.user_id == user_id, member.program_id == program_id, user.disabled_at.is_(None))
    )
    role = connection.execute(found).scalar()
    return None if role is None else Role(role)


def members(connection: Connection, program_id: int | None = None, user_id: int | None = None) -> list[Member]:
    """The members of a program, the programs of a user, or all memberships; in the order of programs, then of names."""
    found = select(member.user_id, user.name, member.program_id, member.role).join(users, user.id == member.user_id)
    if program_id is not None:
        found = found.where(member.program_id == program_id)
    if user_id is not None:
        found = found.where(member.user_id == user_id)
    rows = connection.execute(found.order_by(member.program_id, user.name))
    return [Member(row.user_id, row.name, row.program_id, Role(row.role)) for row in rows]
