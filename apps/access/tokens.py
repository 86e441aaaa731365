"""API tokens: 256 random bits each, of which only a hash is kept, so that nobody can read one back."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Select, and_, bindparam, case, insert, or_, select, update
from sqlalchemy.engine import Connection

from backends import api_tokens, later, now, users

from .users import LONGEST_NAME, is_name

MARK = "jq_"
"""How every token begins, so that people and scanners for leaked secrets know one when they see it."""

SHOWN = len(MARK) + 8
LENGTH = len(MARK) + 43

LONGEST_LIFETIME = 3650 * 86_400.0
"""Seconds."""

NOTED_EVERY = 60.0
"""Seconds between two updates of `last_used_at`."""

token, user = api_tokens.c, users.c


class BadToken(ValueError):
    """A token cannot be made as asked; the message says why and what to write instead."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made. `secret` is shown this once; `prefix` is its public beginning."""

    id: int
    prefix: str
    expires_at: datetime | None
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """One token as people see it. `state` is `valid`, `expired`, `revoked`, or `disabled` when its user is."""

    id: int
    prefix: str
    name: str
    user: str
    state: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """The token for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Identified:
    """Whose token it is. `unnoted`: for a minute nobody has written down that it is in use."""

    token_id: int
    user_id: int
    name: str
    is_admin: bool
    unnoted: bool


def create_token(connection: Connection, user_id: int, name: str, lifetime: float | None) -> NewToken:
    """Make a token for a user; it expires after `lifetime` seconds of the database's clock, or never.

    Raises `BadToken` for a lifetime of 0, or of more than ten years, and for a name that nobody could read.
    """
    if not is_name(name):
        raise BadToken(f"a token's name is printable text of at most {LONGEST_NAME} characters, not {name[:99]!r}")
    if lifetime is not None and not 0 < lifetime <= LONGEST_LIFETIME:
        raise BadToken("a token lives for more than 0 seconds and at most 3650 days; write --expires 90d, or never")
    secret = MARK + secrets.token_urlsafe(32)
    made = insert(api_tokens).values(
        user_id=user_id,
        name=name,
        prefix=secret[:SHOWN],
        hash=fingerprint(secret),
        expires_at=None if lifetime is None else later(lifetime),
    )
    row = connection.execute(made.returning(token.id, token.expires_at)).one()
    return NewToken(row.id, secret[:SHOWN], row.expires_at, secret)


def fingerprint(secret: str) -> str:
    """What is kept of a token. Nobody can guess 256 random bits, so a fast hash without salt is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def identify(connection: Connection, secret: str) -> Identified | None:
    """Whose valid token this is; None for one that is unknown, expired, revoked, or of a disabled user."""
    row = connection.execute(_valid(), {"fingerprint": fingerprint(secret)}).first()
    return None if row is None else Identified(row.token_id, row.user_id, row.name, row.is_admin, bool(row.unnoted))


@cache
def _valid() -> Select[Any]:
    unnoted = or_(token.last_used_at.is_(None), token.last_used_at < later(-NOTED_EVERY))
    return (
        select(token.id.label("token_id"), user.id.label("user_id"), user.name, user.is_admin, unnoted.label("unnoted"))
        .join(users, user.id == token.user_id)
        .where(
            token.hash == bindparam("fingerprint"),
            token.revoked_at.is_(None),
            or_(token.expires_at.is_(None), token.expires_at > now()),
            user.disabled_at.is_(None),
        )
    )


def note_use(connection: Connection, token_ids: list[int]) -> None:
    """Write down that these tokens were used just now, passing over rows that somebody else is writing at this moment."""
    free = select(token.id).where(token.id.in_(token_ids)).with_for_update(skip_locked=True)
    ids = connection.execute(free).scalars().all()
    connection.execute(update(api_tokens).where(token.id.in_(ids)).values(last_used_at=now()))


def list_tokens(connection: Connection, user_id: int | None = None) -> list[Token]:
    """The tokens of one user or of all, oldest first."""
    of_user = [] if user_id is None else [token.user_id == user_id]
    return _tokens(connection, *of_user)


def find_tokens(connection: Connection, prefix_or_id: str) -> list[Token]:
    """The token of that id, or those of that prefix, which chance may make more than one."""
    if prefix_or_id.isascii() and prefix_or_id.isdecimal():
        return _tokens(connection, token.id == int(prefix_or_id)) if len(prefix_or_id) < 10 else []
    return _tokens(connection, token.prefix == prefix_or_id)


def revoke_token(connection: Connection, token_id: int) -> bool:
    """Make a token worthless for ever; False when it was that already."""
    unrevoked = update(api_tokens).where(token.id == token_id, token.revoked_at.is_(None))
    return connection.execute(unrevoked.values(revoked_at=now())).rowcount == 1


def _tokens(connection: Connection, *which: Any) -> list[Token]:
    state = case(
        (token.revoked_at.is_not(None), "revoked"),
        (token.expires_at <= now(), "expired"),
        (user.disabled_at.is_not(None), "disabled"),
        else_="valid",
    )
    columns = (token.id, token.prefix, token.name, user.name.label("user"), state.label("state"))
    moments = (token.created_at, token.expires_at, token.last_used_at)
    found = select(*columns, *moments).join(users, user.id == token.user_id).where(and_(True, *which)).order_by(token.id)
    return [Token(**row._asdict()) for row in connection.execute(found)]
