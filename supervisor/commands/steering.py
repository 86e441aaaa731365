"""`processor start` and `processor stop`: have the running supervisor process jobs, or rest."""

from __future__ import annotations

import time

import typer

from . import output
from .opening import load
from .options import ConfigFile
from .problems import Exit, Problem
from .processes import STOP_MARGIN, require_running

LOOK_EVERY = 0.05

app = typer.Typer(no_args_is_help=True, help="Have the running supervisor process jobs, or rest; it stays itself.")


@app.command()
def start(config: ConfigFile = None) -> int:
    """Have jobs processed again after `processor stop`."""
    from config import Processing, order_processing

    run_dir = load(config).settings.run_dir
    require_running(run_dir)
    order_processing(run_dir, Processing.GO)
    output.line("ordered", "jobs are processed")
    return Exit.OK


@app.command()
def stop(config: ConfigFile = None) -> int:
    """Have the workers finish what they run and leave, and wait until they have; the supervisor and its API stay."""
    from config import Processing, is_resting, order_processing

    settings = load(config).settings
    pid = require_running(settings.run_dir)
    order_processing(settings.run_dir, Processing.STOP)
    deadline = time.monotonic() + settings.shutdown_timeout + STOP_MARGIN
    while not is_resting(settings.run_dir):
        if time.monotonic() > deadline:
            raise Problem("STOP-TIMEOUT", f"workers of the supervisor (pid {pid}) still run", "supervisor status")
        time.sleep(LOOK_EVERY)
    output.line("resting", f"pid {pid}")
    return Exit.OK
