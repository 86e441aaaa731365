"""Whose rows a statement may see or change: a condition in its WHERE, never a look before or after."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, select, true

from .tables import memberships, users


class Role(StrEnum):
    """What a member of a program may do: look; create, cancel and retry jobs; `admin` is for applications to tell apart."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def and_above(self) -> tuple[Role, ...]:
        """The roles that may do what this one may."""
        order = tuple(Role)
        return order[order.index(self) :]


@dataclass(frozen=True, slots=True)
class Scope:
    """The programs in which a user has at least a role; every program without a user. An administrator's is `EVERYTHING`."""

    user_id: int | None = None
    role: Role = Role.VIEWER

    def holds_for(self, program: Any) -> ColumnElement[bool]:
        """The condition that this column names a program within the scope; a user disabled meanwhile has none."""
        mine = self.programs()
        return true() if mine is None else program.in_(mine)

    def programs(self) -> Select[tuple[int]] | None:
        """The statement that reads the ids of the programs within the scope; None when that is every program."""
        if self.user_id is None:
            return None
        return (
            select(memberships.c.program_id)
            .join(users, users.c.id == memberships.c.user_id)
            .where(
                and_(
                    memberships.c.user_id == self.user_id,
                    memberships.c.role.in_([role.value for role in self.role.and_above]),
                    users.c.disabled_at.is_(None),
                )
            )
        )


EVERYTHING = Scope()
