"""`start` and `stop`: run a supervisor, and end the one of this configuration's run directory."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import output
from .handlers import handler_problems
from .opening import load
from .options import ConfigFile
from .problems import Exit, Problem
from .wording import read_duration, span

if TYPE_CHECKING:
    from config import Loaded

STOP_MARGIN = 10.0
"""Seconds beside `shutdown_timeout` that a draining supervisor may take before `stop` gives up waiting."""


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the tree."""
    for command in (start, stop):
        app.command()(command)


def start(
    config: ConfigFile = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", metavar="N", min=1, help="Instead of workers.count.")
    ] = None,
    log_format: Annotated[
        Literal["auto", "console", "json"] | None, typer.Option("--log-format", help="Instead of logging.format.")
    ] = None,
    api_port: Annotated[
        int | None,
        typer.Option("--api-port", metavar="N", min=0, max=65535, help="Serve the HTTP API, on this port; 0: a free one."),
    ] = None,
    no_api: Annotated[bool, typer.Option("--no-api", help="Do not serve the HTTP API.")] = False,
    while_owned: Annotated[
        bool, typer.Option("--while-owned", help="End when no process owns this supervisor.", hidden=True)
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check the configuration and its handlers, and leave.")
    ] = False,
) -> int:
    """Run the supervisor in the foreground until it is told to stop.

    Signals: TERM and INT drain (a second INT stops at once), QUIT stops at once and hands jobs back, HUP reloads,
    TTIN and TTOU one worker more or fewer, USR1 dumps stacks, USR2 stops claiming.
    """
    from config import render

    wanted = False if no_api else None if api_port is None else True
    overrides = {
        "workers.count": workers, "logging.format": log_format, "api.enabled": wanted, "api.port": api_port,
    }
    loaded = load(config, overrides)
    if check:
        return _check_only(loaded)
    if loaded.warnings:
        output.say(render(loaded.warnings, closing=""))
    return _run(loaded, overrides, while_owned)


def stop(
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="DURATION", help="How long to wait.", show_default="shutdown_timeout + 10s"),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Do not drain: stop running jobs and hand them back.")] = False,
    config: ConfigFile = None,
) -> int:
    """Stop the running supervisor: let running jobs finish, wait until it is gone, and say what happened."""
    settings = load(config).settings
    patience = read_duration(timeout, "--timeout") if timeout else settings.shutdown_timeout + STOP_MARGIN
    pid = require_running(settings.run_dir)
    began = time.monotonic()
    if not end(pid, signal.SIGQUIT if now else signal.SIGTERM, patience):
        fix = "It hands its jobs back at once with: supervisor stop --now"
        raise Problem("STOP-TIMEOUT", f"the supervisor (pid {pid}) still runs after {span(patience)}", fix)
    output.line("stopped", f"pid {pid}", f"after {time.monotonic() - began:.1f} s", "handed back" if now else "drained")
    return Exit.OK


def end(pid: int, number: signal.Signals, patience: float) -> bool:
    """Signal a process and wait until it is gone; False if it is not within `patience` seconds."""
    try:
        watch = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(watch, number)
            ready, _, _ = select.select([watch], [], [], patience)
        finally:
            os.close(watch)
    except ProcessLookupError:
        return True
    except PermissionError:
        raise not_allowed(pid) from None
    return bool(ready)


def require_running(run_dir: Path) -> int:
    """The pid of the supervisor that holds this run directory. A problem when none does, or we may not look."""
    from .. import running_pid

    if run_dir.exists() and not os.access(run_dir, os.R_OK | os.X_OK):
        what = f"{run_dir} may not be read by uid {os.getuid()}"
        raise Problem("RUN-DIR", what, "Run this as the user that runs the supervisor.", Exit.PERMISSION)
    pid = running_pid(run_dir)
    if pid is None:
        what = f"no supervisor runs in {run_dir}"
        raise Problem("NOT-RUNNING", what, "One on another host is seen by: supervisor status", Exit.NOT_RUNNING)
    return pid


def ended(pid: int) -> Problem:
    """The problem of a supervisor that ended while we were about to speak to it."""
    return Problem("NOT-RUNNING", f"the supervisor (pid {pid}) has just ended", "supervisor start", Exit.NOT_RUNNING)


def not_allowed(pid: int) -> Problem:
    """The problem of a supervisor that belongs to somebody else."""
    what = f"the supervisor (pid {pid}) belongs to another user than uid {os.getuid()}"
    return Problem("SIGNAL-PERMISSION", what, "Run this as the user that runs the supervisor.", Exit.PERMISSION)


def _check_only(loaded: Loaded) -> int:
    from config import render

    problems = [*loaded.warnings, *handler_problems(loaded)]
    if problems:
        output.say(render(problems, closing=""))
    if any(problem.severity == "error" for problem in problems):
        return Exit.BAD_CONFIGURATION
    output.line("ok", loaded.path)
    return Exit.OK


def _run(loaded: Loaded, overrides: Mapping[str, object], while_owned: bool) -> int:
    from .. import ProblemAtStart, run

    try:
        return run(loaded, load_again=lambda: load(loaded.path, overrides), while_owned=while_owned)
    except ProblemAtStart as error:
        raise Problem(error.id, str(error), code=Exit(error.exit_code)) from None
