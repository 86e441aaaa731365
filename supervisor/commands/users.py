"""`users`: who may use the API. What they may do is said by memberships, and proved by tokens."""

from __future__ import annotations

from typing import Annotated

import typer

from . import output
from .access import access, as_refused, user_called
from .audited import change
from .opening import open_queue
from .options import AsJson, ConfigFile, Reason, UserName
from .problems import Exit
from .wording import when

app = typer.Typer(name="users", help="Who may use the API.", no_args_is_help=True)

COLUMNS = ("id", "name", "subject", "admin", "disabled", "created")


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call them.", show_default=False)],
    subject: Annotated[
        str | None, typer.Option("--subject", metavar="S", help="What the identity provider calls them.")
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="May do everything in every program.")] = False,
    reason: Reason = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Add a user, and print the id. Without memberships a user sees no program."""
    with open_queue(config) as opened, as_refused("USER"), change(opened, reason) as made:
        user_id = access(opened).add_user(made.connection, name, subject, admin)
        made.record("user.add", user=name, user_id=user_id, is_admin=admin)
    if as_json:
        output.document({"id": user_id, "name": name})
    else:
        output.line(user_id, name)
        output.say(f"Next: supervisor programs grant PROGRAM {name} operator; supervisor tokens create {name}")
    return Exit.OK


@app.command("list")
def list_users(as_json: AsJson = False, config: ConfigFile = None) -> int:
    """List the users, by their ids."""
    with open_queue(config) as opened:
        found = opened.queue.read(access(opened).list_users)
    if as_json:
        output.document([user.as_dict() for user in found])
        return Exit.OK
    output.table(
        COLUMNS,
        [
            (user.id, user.name, user.subject, user.is_admin, when(user.disabled_at), when(user.created_at))
            for user in found
        ],
    )
    if not found:
        output.say("No users yet. supervisor users add --help")
    return Exit.OK


@app.command()
def disable(name: UserName, reason: Reason = None, config: ConfigFile = None) -> int:
    """Take none of a user's tokens from now on; running API processes follow within seconds."""
    with open_queue(config) as opened, change(opened, reason) as made:
        extension = access(opened)
        user = user_called(extension, made.connection, name)
        if user.disabled_at is None:
            extension.disable_user(made.connection, user.id)
            made.record("user.disable", user=name, user_id=user.id)
    output.line(name, "is disabled")
    return Exit.OK


@app.command()
def enable(name: UserName, reason: Reason = None, config: ConfigFile = None) -> int:
    """Take a disabled user's tokens again, but for those that were revoked or have expired."""
    with open_queue(config) as opened, change(opened, reason) as made:
        extension = access(opened)
        user = user_called(extension, made.connection, name)
        if user.disabled_at is not None:
            extension.enable_user(made.connection, user.id)
            made.record("user.enable", user=name, user_id=user.id)
    output.line(name, "is enabled")
    return Exit.OK
