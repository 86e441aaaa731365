"""`search`: the files of a program by the words in them. The work is done by an extension module named in the configuration."""

from __future__ import annotations

from typing import Annotated

import typer

from . import output
from .extensions import extension_with
from .opening import open_queue
from .options import AsJson, ConfigFile, small
from .problems import Exit, Problem

COLUMNS = ("path", "type", "modified", "text")


def search(
    program: Annotated[
        int, typer.Argument(metavar="PROGRAM", callback=small, help="The program's id.", show_default=False)
    ],
    query: Annotated[
        list[str], typer.Argument(metavar="QUERY...", help="Words that must all occur.", show_default=False)
    ],
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", help="At most so many, 100 at the most.")] = 20,
    cursor: Annotated[
        str | None, typer.Option("--cursor", metavar="CURSOR", help="Where the former page ended.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Search a program's files: all words must occur in a file's name, path or text."""
    with open_queue(config) as opened:
        extension = extension_with(opened.settings.extensions, "search_files", "search")
        words = " ".join(query)
        try:
            page = opened.queue.read(lambda connection: extension.search_files(connection, program, words, limit, cursor))
        except ValueError as error:
            raise Problem("QUERY", str(error), "supervisor search --help", Exit.USAGE) from None
    if as_json:
        output.document({"results": [found.as_dict() for found in page.results], "next_cursor": page.next_cursor})
        return Exit.OK
    output.table(COLUMNS, [[found.path, found.mime_type, found.modified_at, found.snippet] for found in page.results])
    if page.next_cursor:
        output.say(f"There are more: --cursor {page.next_cursor}")
    elif not page.results:
        output.say(f"Nothing found. Is program {program} indexed? supervisor jobs list --program {program}")
    return Exit.OK
