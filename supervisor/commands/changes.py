"""`reload` and `restart`: have the running supervisor take new settings, or new code, and hear whether it did."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output
from .handlers import handler_problems
from .opening import load
from .options import ConfigFile
from .problems import Exit, Problem, Rendered
from .processes import STOP_MARGIN, ended, not_allowed, require_running
from .wording import read_duration, span

if TYPE_CHECKING:
    from config import Loaded

RELOAD_PATIENCE = 10.0
"""Seconds within which a supervisor says in its status file what became of a reload."""

LOOK_EVERY = 0.05


def add_to(app: typer.Typer) -> None:
    """Hang these commands into the tree."""
    for command in (reload, restart):
        app.command()(command)


def reload(config: ConfigFile = None) -> int:
    """Have the running supervisor read its configuration again, and say whether it took it.

    A file with mistakes is not sent: they are shown, and the supervisor keeps what it has.
    """
    loaded = load(config)
    run_dir = loaded.settings.run_dir
    pid = require_running(run_dir)
    before = _said(run_dir)
    wanted = loaded.digest

    def answered(status: Mapping[str, Any]) -> bool:
        is_new = status.get("reloaded_at") != before.get("reloaded_at")
        return is_new and bool(status["reload_refused"] or status["config_hash"] == wanted)

    with _signalled(pid, signal.SIGHUP) as watch:
        status = _wait_for(run_dir, answered, watch, RELOAD_PATIENCE)
    if status is None:
        what = f"the supervisor (pid {pid}) has not said within {span(RELOAD_PATIENCE)} that it took {loaded.path}"
        raise Problem("RELOAD-TIMEOUT", what, "How is it? supervisor status")
    if status["reload_refused"]:
        what = f"the supervisor (pid {pid}) did not take {loaded.path}"
        raise Problem("RELOAD-REFUSED", what, "\n  ".join(status["reload_refused"]), Exit.BAD_CONFIGURATION)
    same = before.get("config_hash") == wanted
    output.line("reloaded", f"pid {pid}", f"config {wanted}", "the file had not changed" if same else None)
    return Exit.OK


def restart(
    timeout: Annotated[
        str | None,
        typer.Option(
            "--timeout",
            metavar="DURATION",
            help="How long to wait.",
            show_default="shutdown_timeout + ready_timeout + 10s",
        ),
    ] = None,
    config: ConfigFile = None,
) -> int:
    """Have the running supervisor drain and start again in the same process, with the code and settings there are now.

    A configuration with mistakes, or a handler that cannot be imported, is shown, and the supervisor runs on.
    """
    from .. import AlreadyAsked, restart_request

    loaded = load(config)
    settings = loaded.settings
    usual = settings.shutdown_timeout + settings.supervision.ready_timeout + STOP_MARGIN
    patience = read_duration(timeout, "--timeout") if timeout else usual
    pid = require_running(settings.run_dir)
    _refuse_bad_handlers(loaded)
    before = _said(settings.run_dir)
    began = time.monotonic()
    try:
        with restart_request(settings.run_dir, pid), _signalled(pid, signal.SIGTERM) as watch:
            status = _wait_for(settings.run_dir, lambda status: _is_another(status, before), watch, patience)
    except AlreadyAsked:
        raise Problem("RESTART-ASKED", "another `supervisor restart` is under way", code=Exit.REFUSED) from None
    if status is None:
        raise _not_restarted(pid, settings.run_dir, patience)
    output.line("restarted", f"pid {pid}", f"after {time.monotonic() - began:.1f} s", f"config {status['config_hash']}")
    return Exit.OK


def _refuse_bad_handlers(loaded: Loaded) -> None:
    from config import render

    if problems := handler_problems(loaded):
        raise Rendered(render(problems, closing=""))


def _is_another(status: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether this is a supervisor that started since, and is up."""
    return status.get("state") == "running" and (status["id"], status["started_at"]) != (
        before.get("id"),
        before.get("started_at"),
    )


def _not_restarted(pid: int, run_dir: Path, patience: float) -> Problem:
    from .. import running_pid

    if running_pid(run_dir) is None:
        what = f"the supervisor (pid {pid}) ended and did not start again"
        return Problem("RESTART-FAILED", what, "Its log says why. Mend that, then: supervisor start")
    what = f"the supervisor (pid {pid}) is not up again after {span(patience)}"
    return Problem("RESTART-TIMEOUT", what, "It may still be about to: supervisor status")


def _said(run_dir: Path) -> Mapping[str, Any]:
    from .. import read_status

    return read_status(run_dir) or {}


@contextmanager
def _signalled(pid: int, number: signal.Signals) -> Iterator[int]:
    """Signal a process; gives a descriptor that becomes readable when it ends."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        raise ended(pid) from None
    try:
        signal.pidfd_send_signal(watch, number)
        yield watch
    except ProcessLookupError:
        raise ended(pid) from None
    except PermissionError:
        raise not_allowed(pid) from None
    finally:
        os.close(watch)


def _wait_for(
    run_dir: Path, answered: Callable[[Mapping[str, Any]], bool], watch: int, patience: float
) -> Mapping[str, Any] | None:
    """The first status that is the answer; None when there is none in time, or the process ended."""
    deadline = time.monotonic() + patience
    gone = False
    while not gone and time.monotonic() < deadline:
        status = _said(run_dir)
        if answered(status):
            return status
        gone = bool(select.select([watch], [], [], LOOK_EVERY)[0])
    return None
