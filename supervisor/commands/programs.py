"""`programs`: what is indexed for whom. The work is done by an extension module named in the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, cast

import typer

from . import output
from .audited import change
from .extensions import extension_with
from .opening import open_queue
from .options import AsJson, ConfigFile, Reason, small
from .problems import Exit, Problem
from .wording import read_pairs

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

app = typer.Typer(name="programs", help="What is indexed, and from where.", no_args_is_help=True)

COLUMNS = ("id", "name", "source", "folder", "declared", "settings")


class ProgramView(Protocol):
    """A program as an extension shows it; `declared` ones come from the configuration file."""

    id: int
    name: str
    source: str
    folder: str | None
    settings: Mapping[str, Any]
    declared: bool


class Programs(Protocol):
    """What an extension module must have to be asked for programs. Both raise `ValueError` with a message for people."""

    def add_program(
        self,
        connection: Connection,
        name: str,
        source: str,
        folder: str | None,
        settings: Mapping[str, Any],
        id: int | None,
    ) -> int: ...

    def list_programs(self, connection: Connection) -> Sequence[ProgramView]: ...


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call it.", show_default=False)],
    source: Annotated[
        Literal["local", "google_drive"], typer.Option("--source", help="Where its files are.")
    ] = "local",
    folder: Annotated[
        str | None,
        typer.Option("--folder", metavar="F", help="A path for local (required), a folder id for google_drive."),
    ] = None,
    program_id: Annotated[
        int | None, typer.Option("--id", metavar="N", callback=small, help="Its number; the next free one otherwise.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="An option of the source, such as include_trashed=true. Repeatable."
        ),
    ] = None,
    reason: Reason = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Add a program, and print its id."""
    given = read_pairs(settings or [], "--set")
    with open_queue(config) as opened:
        extension = with_programs(opened.settings.extensions)
        try:
            with change(opened, reason) as made:
                new_id = extension.add_program(made.connection, name, source, folder, given, program_id)
                made.record("program.add", program_id=new_id, name=name)
        except ValueError as error:
            raise refused(error) from None
    if source == "local" and folder and not Path(folder).expanduser().is_dir():
        output.say(f"Note: {folder} is not a folder on this host.")
    if as_json:
        output.document({"id": new_id})
    else:
        output.line(new_id, name)
        output.say(f"Index it: supervisor jobs enqueue full_scan --program {new_id}")
    return Exit.OK


@app.command("list")
def list_programs(as_json: AsJson = False, config: ConfigFile = None) -> int:
    """List the programs, by their ids."""
    with open_queue(config) as opened:
        extension = with_programs(opened.settings.extensions)
        try:
            found = opened.queue.read(extension.list_programs)
        except ValueError as error:
            raise refused(error) from None
    if as_json:
        output.document([{name: getattr(each, name) for name in COLUMNS} for each in found])
        return Exit.OK
    output.table(COLUMNS, [[getattr(each, name) for name in COLUMNS] for each in found])
    if not found:
        output.say("No programs yet. supervisor programs add --help")
    return Exit.OK


def with_programs(names: Sequence[str]) -> Programs:
    """The first extension module that has programs. A problem when there is none, or one cannot be imported."""
    return cast(Programs, extension_with(names, "add_program", "programs"))


def refused(error: ValueError) -> Problem:
    """The problem of a program that an extension does not take."""
    return Problem("PROGRAM", str(error), "supervisor programs add --help", Exit.REFUSED)
