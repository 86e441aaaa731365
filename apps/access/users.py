"""Users: who may ask. They are made by an administrator; nothing that arrives with a request ever makes one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.engine import Connection

from backends import insert_for, now, users

LONGEST_NAME = 200

user = users.c


class BadUser(ValueError):
    """A user cannot be stored; the message says why and what to write instead."""


@dataclass(frozen=True, slots=True)
class User:
    """One row of `jobqueue_users`. `subject` is what the identity provider calls them; a disabled one may do nothing."""

    id: int
    name: str
    subject: str | None
    is_admin: bool
    disabled_at: datetime | None
    created_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """The user for JSON."""
        return asdict(self)


def add_user(connection: Connection, name: str, subject: str | None = None, is_admin: bool = False) -> int:
    """Store a new user and return the id. Raises `BadUser` for a name that nobody could type, and for one that is taken."""
    _check("name", name)
    if subject is not None:
        _check("subject", subject)
    new = insert_for(connection, users).values(name=name, subject=subject, is_admin=is_admin)
    user_id = connection.execute(new.on_conflict_do_nothing().returning(user.id)).scalar()
    if user_id is None:
        what = f"name {name!r}" if find_user(connection, name) else f"subject {subject!r}"
        raise BadUser(f"there is a user of the {what} already; choose another, or enable that one")
    return int(user_id)


def _check(what: str, text: str) -> None:
    if not is_name(text):
        raise BadUser(
            f"a user's {what} is printable text of at most {LONGEST_NAME} characters, without spaces around it, "
            f"not {text[: LONGEST_NAME + 1]!r}; choose another"
        )


def is_name(text: str) -> bool:
    """Whether users and subjects can be called so."""
    return 0 < len(text) <= LONGEST_NAME and text == text.strip() and text.isprintable()


def list_users(connection: Connection) -> list[User]:
    """All users in the order of their ids."""
    return [User(**row._asdict()) for row in connection.execute(select(users).order_by(user.id))]


def find_user(connection: Connection, name: str) -> User | None:
    """The user of that name."""
    return _first(connection, user.name == name)


def find_subject(connection: Connection, subject: str) -> User | None:
    """The user whom the identity provider calls so, unless disabled."""
    return _first(connection, (user.subject == subject) & user.disabled_at.is_(None))


def _first(connection: Connection, which: Any) -> User | None:
    row = connection.execute(select(users).where(which)).first()
    return None if row is None else User(**row._asdict())


def disable_user(connection: Connection, user_id: int) -> None:
    """From now on none of the user's tokens is taken; the first time counts."""
    connection.execute(update(users).where(user.id == user_id).values(disabled_at=func.coalesce(user.disabled_at, now())))


def enable_user(connection: Connection, user_id: int) -> None:
    """The user's tokens are taken again, but for those that were revoked or have expired."""
    connection.execute(update(users).where(user.id == user_id).values(disabled_at=None))
