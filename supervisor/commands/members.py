"""`programs grant`, `revoke`, `members`: what users may do in a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import output
from .access import access, user_called
from .audited import change
from .extensions import extension_with
from .opening import Opened, open_queue
from .options import AsJson, ConfigFile, Reason, UserName, small
from .problems import Exit, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

COLUMNS = ("user", "role")

Program = Annotated[
    int, typer.Argument(metavar="PROGRAM", callback=small, help="The program's id.", show_default=False)
]
RoleName = Annotated[
    Literal["viewer", "operator", "admin"],
    typer.Argument(
        metavar="ROLE",
        help="viewer: look; operator: create, cancel and retry jobs too; admin: the same, and for an application to tell apart.",
        show_default=False,
    ),
]


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the tree."""
    for command in (grant, revoke, members):
        app.command()(command)


def grant(program: Program, user: UserName, role: RoleName, reason: Reason = None, config: ConfigFile = None) -> int:
    """Give a user a role in a program, in place of the one they have."""
    with open_queue(config) as opened, change(opened, reason) as made:
        extension = access(opened)
        found = user_called(extension, made.connection, user)
        extension.grant(made.connection, found.id, program, role)
        made.record("member.grant", program_id=program, user=user, user_id=found.id, role=role)
        known = _is_known(opened, made.connection, program)
    output.line(user, f"is {role} of program {program}")
    if not known:
        output.say(f"Note: no program {program} was added here; that is right for one in tables of your own.")
    return Exit.OK


def _is_known(opened: Opened, connection: Connection, program: int) -> bool:
    programs = extension_with(opened.settings.extensions, "list_programs", "programs")
    return any(each.id == program for each in programs.list_programs(connection))


def revoke(program: Program, user: UserName, reason: Reason = None, config: ConfigFile = None) -> int:
    """Take a user out of a program."""
    with open_queue(config) as opened, change(opened, reason) as made:
        extension = access(opened)
        found = user_called(extension, made.connection, user)
        if not extension.revoke(made.connection, found.id, program):
            what = f"{user} is not a member of program {program}"
            raise Problem("MEMBER-NOT-FOUND", what, f"supervisor programs members {program}", Exit.NOT_FOUND)
        made.record("member.revoke", program_id=program, user=user, user_id=found.id)
    output.line(user, f"is no member of program {program} any more")
    return Exit.OK


def members(program: Program, as_json: AsJson = False, config: ConfigFile = None) -> int:
    """List the members of a program."""
    with open_queue(config) as opened:
        extension = access(opened)
        found = opened.queue.read(lambda connection: extension.members(connection, program))
    if as_json:
        output.document([member.as_dict() for member in found])
        return Exit.OK
    output.table(COLUMNS, [(member.user, member.role) for member in found])
    if not found:
        output.say(f"Program {program} has no members. supervisor programs grant --help")
    return Exit.OK
