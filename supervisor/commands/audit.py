"""`audit`: what people changed."""

from __future__ import annotations

from typing import Annotated

import typer

from . import output
from .opening import open_queue
from .options import AsJson, ConfigFile, small
from .problems import Exit
from .wording import when

COLUMNS = ("id", "at", "actor", "via", "action", "program", "job", "reason", "detail")


def audit(
    program: Annotated[
        int | None, typer.Option("--program", metavar="N", callback=small, help="Only what concerns this program.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="At most this many.")] = 50,
    before: Annotated[
        int | None, typer.Option("--before", metavar="ID", min=1, max=2**63 - 1, help="Only entries older than this one.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """List the changes that people made, the newest first: who, by which way, what, and why."""
    from backends import read_audit

    with open_queue(config) as opened:
        found = opened.queue.read(lambda connection: read_audit(connection, program, limit, before))
    if as_json:
        output.document([entry.as_dict() for entry in found])
        return Exit.OK
    output.table(
        COLUMNS,
        [
            (each.id, when(each.at), each.actor, each.via, each.action, each.program_id, each.job_id, each.reason, each.detail)
            for each in found
        ],
    )
    if len(found) == limit:
        output.say(f"There may be more: --before {found[-1].id}")
    return Exit.OK
