"""`run_job_processor.py`: one worker with a name, under a supervisor and in a run directory of its own."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import output
from .opening import load
from .options import ConfigFile
from .problems import Exit, Problem
from .tree import run as run_command

if TYPE_CHECKING:
    from config import Loaded

LOG_FILE = "job_processor.log"
"""In the working directory, unless `logging.file` names another."""

LOOK_EVERY = 0.05

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})


def main() -> int:
    """Do what the command line says; returns the exit code."""
    return run_command(sys.argv[1:], app)


@app.command()
def processor(
    config: ConfigFile = None,
    process_id: Annotated[
        str | None,
        typer.Option(
            "--process-id", metavar="NAME", help="The processor's name; two of one name cannot run.",
            show_default="a new one",
        ),
    ] = None,
    daemon: Annotated[
        bool, typer.Option("--daemon", help=f"Go on in the background once it is ready, and log to {LOG_FILE} only.")
    ] = False,
    detached: Annotated[bool, typer.Option("--detached", help="Be that background process.", hidden=True)] = False,
) -> int:
    """Process jobs, one at a time, until told to end by a signal, as `supervisor start` does.

    Several on one host share the jobs, each with a name of its own. It logs to the terminal and to `job_processor.log`.
    """
    name = process_id or f"processor-{secrets.token_hex(4)}"
    if not name.strip("."):
        raise Problem("USAGE", f"--process-id: {name!r} is no name", code=Exit.USAGE)
    overrides: Mapping[str, object] = {
        "workers.count": 1, "workers.process_ids": (name,), "api.enabled": False,
    }
    loaded = load(config, overrides)
    run_dir = loaded.settings.run_dir / "processors" / name
    if daemon:
        return _detach(loaded, name, run_dir)
    return _run(loaded, overrides, run_dir, detached)


def _run(loaded: Loaded, overrides: Mapping[str, object], run_dir: Path, detached: bool) -> int:
    from config import working_directory

    from .. import ProblemAtStart, run

    file = loaded.settings.logging.file or working_directory() / LOG_FILE
    again = loaded.path
    try:
        return run(
            loaded, load_again=lambda: load(again, overrides), run_dir=run_dir, log_file=file,
            log_to_console=not detached, detached=detached,
        )
    except ProblemAtStart as error:
        if error.exit_code == Exit.REFUSED:
            raise _runs_already(run_dir) from None
        raise Problem(error.id, str(error), code=Exit(error.exit_code)) from None


def _runs_already(run_dir: Path) -> Problem:
    from .. import running_pid

    pid = running_pid(run_dir)
    what = f"a processor of the name {run_dir.name} runs already" + (f" (pid {pid})" if pid else "")
    return Problem("PID-RUNNING", what, "Give this one another --process-id, or end that one with TERM.", Exit.REFUSED)


def _detach(loaded: Loaded, name: str, run_dir: Path) -> int:
    """Run this program again in a session of its own, and say its pid once it is ready; its complaints come here till then."""
    command = [sys.executable, sys.argv[0], "-c", str(loaded.path), "--process-id", name, "--detached"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    while (code := process.poll()) is None:
        if _is_ready(run_dir, process.pid):
            output.line("started", name, f"pid {process.pid}")
            return Exit.OK
        time.sleep(LOOK_EVERY)
    if code < 0:
        raise Problem("START", f"the processor {name} was ended by signal {-code} before it was ready")
    return code


def _is_ready(run_dir: Path, pid: int) -> bool:
    from .. import read_status, running_pid

    status = read_status(run_dir) or {}
    return running_pid(run_dir) == pid == status.get("pid") and status["state"] == "running"
