"""`tokens`: what users show to the API. A token is printed when it is made, and never again."""

from __future__ import annotations

from typing import Annotated

import typer

from . import output
from .access import Access, TokenView, access, as_refused, user_called
from .audited import Change, actor, change
from .opening import open_queue
from .options import AsJson, ConfigFile, Reason, UserName
from .problems import Exit, Problem
from .wording import read_duration, when

app = typer.Typer(name="tokens", help="What users show to the API.", no_args_is_help=True)

COLUMNS = ("id", "prefix", "name", "user", "state", "created", "expires", "last used")


@app.command()
def create(
    user: UserName,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="N", help="What it is for.", show_default="the person and the host that made it"),
    ] = None,
    expires: Annotated[
        str, typer.Option("--expires", metavar="DURATION", help="How long it is good for, or `never`.")
    ] = "90d",
    reason: Reason = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Make a token for a user, and print it: this once, and nothing else on the standard output."""
    lifetime = None if expires == "never" else read_duration(expires, "--expires")
    with open_queue(config) as opened, as_refused("TOKEN"), change(opened, reason) as made:
        extension = access(opened)
        owner = user_called(extension, made.connection, user)
        if owner.disabled_at is not None:
            raise Problem("TOKEN", f"{user} is disabled", f"supervisor users enable {user}", Exit.REFUSED)
        token = extension.create_token(made.connection, owner.id, name or actor(), lifetime)
        made.record("token.create", user=user, token_id=token.id, prefix=token.prefix)
    if as_json:
        output.document(
            {
                "id": token.id,
                "token": token.secret,
                "prefix": token.prefix,
                "user": user,
                "expires_at": token.expires_at,
            }
        )
    else:
        print(token.secret, flush=True)
    until = f"until {token.expires_at.isoformat(timespec='seconds')}" if token.expires_at else "until it is revoked"
    output.say(f"This token of {user} is shown once and is good {until}. Revoke it: supervisor tokens revoke {token.prefix}")
    return Exit.OK


@app.command("list")
def list_tokens(
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Only this user's tokens.")] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """List tokens by their public beginnings."""
    with open_queue(config) as opened:
        extension = access(opened)
        owner = user and opened.queue.read(lambda connection: user_called(extension, connection, user).id)
        found = opened.queue.read(lambda connection: extension.list_tokens(connection, owner or None))
    if as_json:
        output.document([token.as_dict() for token in found])
        return Exit.OK
    output.table(COLUMNS, map(_row, found))
    if not found:
        output.say("No tokens yet. supervisor tokens create --help")
    return Exit.OK


def _row(token: TokenView) -> tuple[object, ...]:
    moments = (token.created_at, token.expires_at, token.last_used_at)
    return (token.id, token.prefix, token.name, token.user, token.state, *map(when, moments))


@app.command()
def revoke(
    token: Annotated[
        str, typer.Argument(metavar="TOKEN", help="Its id, or its public beginning.", show_default=False)
    ],
    reason: Reason = None,
    config: ConfigFile = None,
) -> int:
    """Make a token worthless for ever; running API processes follow within seconds."""
    with open_queue(config) as opened, change(opened, reason) as made:
        found = _revoke(access(opened), made, token)
    output.line(found.prefix, f"token {found.id} of {found.user} is revoked")
    return Exit.OK


def _revoke(extension: Access, made: Change, typed: str) -> TokenView:
    found = extension.find_tokens(made.connection, typed)
    if not found:
        what = "there is no token of this id or beginning"
        raise Problem("TOKEN-NOT-FOUND", what, "supervisor tokens list", Exit.NOT_FOUND)
    if len(found) > 1:
        ids = ", ".join(str(token.id) for token in found)
        raise Problem("TOKEN", f"{len(found)} tokens begin with {typed}", f"Name one by its id: {ids}", Exit.REFUSED)
    [token] = found
    if extension.revoke_token(made.connection, token.id):
        made.record("token.revoke", user=token.user, token_id=token.id, prefix=token.prefix)
    return token
