"""The program `migrate_job_queue.py`: any database to this release's schema, another program's table of jobs included."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from . import output
from .database import outcome
from .opening import load, open_database
from .options import ConfigFile
from .problems import Exit, Problem, usage
from .tree import run

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from backends import CannotTakeOver, Status

app = typer.Typer(
    name="migrate_job_queue.py",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 69 database unreachable, 77 permission, 78 bad configuration or table.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program with the arguments of the command line, or these; returns its exit code."""
    return run(sys.argv[1:] if arguments is None else arguments, app)


@app.command()
def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the SQL, and change nothing.")] = False,
    timezone: Annotated[
        str, typer.Option("--timezone", metavar="ZONE", help="The zone of times that have none, as `Europe/Berlin`.")
    ] = "UTC",
    statuses: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="OLD=NEW", help="What a status of the old table means; may be repeated."),
    ] = None,
    config: ConfigFile = None,
    with_traceback: Annotated[bool, typer.Option("--traceback", help="Show where in the program an error arose.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colour, as with NO_COLOR set.")] = False,
) -> int:
    """Bring a database to the schema of this release: an empty one, an older one, or another program's `indexing_jobs`.

    Rows are kept, and repeating it is harmless, also after an interruption. Stop what runs the old jobs first, and back up.
    """
    from backends import CannotTakeOver, Reading, migrate, migrate_sql

    reading = Reading(known_zone(timezone), dict(map(meaning, statuses or [])))
    with open_database(load(config).settings, journal="unchanged") as engine:
        try:
            if dry_run:
                print(migrate_sql(engine, reading), end="")
                return Exit.OK
            done = migrate(engine, reading, say=output.say)
        except CannotTakeOver as error:
            raise refused(error) from None
        taken = taken_over(engine) if done.before == "legacy" else []
    output.line("schema", done.after, outcome(done))
    if taken:
        output.line("jobs", *taken)
    return Exit.OK


def taken_over(engine: Engine) -> list[str]:
    """How many jobs there are now, by status, in words."""
    from backends import Queue, Status

    counts = Queue(engine).counts()
    by_status = [(str(status), getattr(counts, status)) for status in Status if status is not Status.RUNNING]
    return [f"{sum(count for _, count in by_status)} taken over", *(f"{count} {status}" for status, count in by_status)]


def refused(error: CannotTakeOver) -> Problem:
    """Every reason why the table cannot be taken over, in one error."""
    listed = "".join(f"\n  - {each}" for each in error.problems)
    state = "the application wrote on meanwhile; what was done stays done" if error.was_begun else "nothing was changed"
    what = f"table indexing_jobs cannot be taken over as it is, and {state}:{listed}"
    return Problem("DB-LEGACY", what, "Then: python migrate_job_queue.py", Exit.BAD_CONFIGURATION)


def known_zone(name: str) -> str:
    """The name, if there is a zone of that name."""
    from backends import Reading

    try:
        _ = Reading(name).zone
    except (KeyError, ValueError, OSError):
        raise usage(f"--timezone: {name!r} is no time zone", "Write it as `Europe/Berlin` or `UTC`.") from None
    return name


def meaning(text: str) -> tuple[str, Status]:
    """`OLD=NEW`: a status of the old table, and one of ours."""
    from backends import Status

    old, _, new = text.rpartition("=")
    if not old or new not in set(Status):
        raise usage(f"--status: {text!r} is not OLD=NEW", f"NEW is one of {', '.join(Status)}.")
    return old, Status(new)
