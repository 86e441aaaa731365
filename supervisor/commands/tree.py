"""The tree of commands, and how one of them is run."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import Abort

from . import (
    audit,
    changes,
    configuration,
    database,
    doctor,
    jobs,
    members,
    output,
    processes,
    programs,
    search,
    secrets,
    status,
    steering,
    tokens,
    users,
)
from .errors import report
from .options import AsJson
from .problems import Exit

EVERYWHERE = ("--traceback", "--no-color")
"""Options that may stand anywhere on the command line."""

app = typer.Typer(
    name="supervisor",
    help="A job queue in the database you already run, and the supervisor that keeps it honest.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 ok, 1 failed or unhealthy, 2 usage, 3 not running, 4 not found, 5 refused, "
    "69 database unreachable, 77 permission, 78 bad configuration or schema.",
)


@app.callback()
def everywhere(
    with_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where in the program an error arose.")
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colour, as with NO_COLOR set.")] = False,
) -> None:
    if no_color:
        os.environ["NO_COLOR"] = "1"


app.command()(configuration.init)
processes.add_to(app)
changes.add_to(app)
status.add_to(app)
app.add_typer(steering.app, name="processor")
app.add_typer(jobs.app, name="jobs")
members.add_to(programs.app)
app.add_typer(programs.app, name="programs")
app.add_typer(users.app, name="users")
app.add_typer(tokens.app, name="tokens")
app.add_typer(secrets.app, name="secrets")
app.command()(search.search)
app.command()(audit.audit)
app.add_typer(database.app, name="db")
app.add_typer(configuration.app, name="config")
doctor.add_to(app)


@app.command()
def version(as_json: AsJson = False) -> int:
    """Print the versions of jobqueue and of Python."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        own = installed("jobqueue")
    except PackageNotFoundError:
        own = "not installed"
    versions = {"jobqueue": own, "python": platform.python_version()}
    if as_json:
        output.document(versions)
    else:
        output.fields(versions)
    return Exit.OK


def run(arguments: Sequence[str], program: typer.Typer = app) -> int:
    """Run one command and return its exit code. Every error becomes text on stderr; none leaves as an exception."""
    try:
        answer = program(args=hoisted(arguments), prog_name=called_as(), standalone_mode=False)
        sys.stdout.flush()
        return int(answer or Exit.OK)
    except (KeyboardInterrupt, Abort):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except Exception as error:
        if "--traceback" in arguments:
            traceback.print_exc()
        return report(error)


def hoisted(arguments: Sequence[str]) -> list[str]:
    """The arguments with those of `EVERYWHERE` in front, where Typer expects the options of the whole program."""
    own = list(takewhile(lambda word: word != "--", arguments))
    found = [word for word in own if word in EVERYWHERE]
    return [*found, *(word for word in own if word not in EVERYWHERE), *arguments[len(own) :]]


def called_as() -> str:
    """The name the program was called by: `supervisor`, `jobqueue`, or that of a program of its own."""
    name = Path(sys.argv[0]).name
    return name if name in ("supervisor", "jobqueue", "migrate_job_queue.py", "run_job_processor.py") else "supervisor"
