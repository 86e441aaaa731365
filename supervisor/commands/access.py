"""What the commands for users, tokens and members ask of an extension module, and how they word what it refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, cast

from .extensions import extension_with
from .problems import Exit, Problem, did_you_mean

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from .opening import Opened


class UserView(Protocol):
    """A user as an extension shows it."""

    id: int
    name: str
    subject: str | None
    is_admin: bool
    disabled_at: datetime | None
    created_at: datetime

    def as_dict(self) -> dict[str, Any]: ...


class TokenView(Protocol):
    """A token as an extension shows it; `state` is `valid`, `expired`, `revoked` or `disabled`."""

    id: int
    prefix: str
    name: str
    user: str
    state: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None

    def as_dict(self) -> dict[str, Any]: ...


class NewTokenView(Protocol):
    """A token that was just made."""

    id: int
    prefix: str
    secret: str
    expires_at: datetime | None


class MemberView(Protocol):
    """A membership as an extension shows it."""

    user: str
    role: str

    def as_dict(self) -> dict[str, Any]: ...


class Access(Protocol):
    """What an extension module must have. What it does not take it says with `ValueError` and a message for people."""

    def add_user(self, connection: Connection, name: str, subject: str | None, is_admin: bool) -> int: ...
    def list_users(self, connection: Connection) -> Sequence[UserView]: ...
    def find_user(self, connection: Connection, name: str) -> UserView | None: ...
    def disable_user(self, connection: Connection, user_id: int) -> None: ...
    def enable_user(self, connection: Connection, user_id: int) -> None: ...
    def create_token(
        self, connection: Connection, user_id: int, name: str, lifetime: float | None
    ) -> NewTokenView: ...
    def list_tokens(self, connection: Connection, user_id: int | None) -> Sequence[TokenView]: ...
    def find_tokens(self, connection: Connection, prefix_or_id: str) -> Sequence[TokenView]: ...
    def revoke_token(self, connection: Connection, token_id: int) -> bool: ...
    def grant(self, connection: Connection, user_id: int, program_id: int, role: str) -> None: ...
    def revoke(self, connection: Connection, user_id: int, program_id: int) -> bool: ...
    def members(self, connection: Connection, program_id: int) -> Sequence[MemberView]: ...


def access(opened: Opened) -> Access:
    """The extension module that has users. A problem when there is none."""
    return cast(Access, extension_with(opened.settings.extensions, "add_user", "users"))


def user_called(extension: Access, connection: Connection, name: str) -> UserView:
    """The user of that name. A problem with the nearest name when there is none."""
    user = extension.find_user(connection, name)
    if user is None:
        names = [each.name for each in extension.list_users(connection)]
        what = f"there is no user {name!r}{did_you_mean(name, names)}"
        raise Problem("USER-NOT-FOUND", what, "supervisor users list", Exit.NOT_FOUND)
    return user


@contextmanager
def as_refused(name: str) -> Iterator[None]:
    """Turn what an extension does not take into the problem of that name: exit code 5."""
    try:
        yield
    except ValueError as error:
        what, _, fix = str(error).partition("; ")
        raise Problem(name, what, fix[:1].upper() + fix[1:], Exit.REFUSED) from None
