"""The handler of the jobs that are killed upon: does what its job says, and ends at its first attempt as that says."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from tests.chaos.history import Recorder
from tests.chaos.witness import write_effect
from workers import Cancel, GiveUp, JobContext, RetryLater

HISTORIES = "KILL_POINTS_HISTORIES"
"""Names the folder of histories to whatever process runs this handler."""

DRAINS = "KILL_POINTS_DRAIN"
"""Set where a handler may tell its own worker to leave."""

AWHILE, SOON = 600.0, 0.5
"""Seconds after which a job runs again: on the path so many that no slow walk sees it, in the drain few."""

TOKEN = "ya29.not-to-be-found-anywhere"


@lru_cache(1)
def _recorder(pid: int) -> Recorder:
    return Recorder(Path(os.environ[HISTORIES]), "worker")


def planned(ctx: JobContext) -> None:
    """Do the `does` of the job, then at its first attempt `ends` so."""
    run = ctx.job.id, ctx.job.lease
    recorder = _recorder(os.getpid())
    recorder.note("run", "started", *run)
    try:
        for what in ctx.job.parameters.get("does", []):
            _DEEDS[what](ctx)
        if ctx.job.lease == 1 and "ends" in ctx.job.parameters:
            raise _ENDS[ctx.job.parameters["ends"]]()
    except BaseException:
        recorder.note("run", "raised", *run)
        raise
    recorder.note("run", "returned", *run)


def _effect(ctx: JobContext) -> None:
    with ctx.transaction() as connection:
        write_effect(connection, ctx.job.id, ctx.job.lease)


def _checkpoint(ctx: JobContext) -> None:
    ctx.checkpoint = {"done": (ctx.checkpoint or {"done": 0})["done"] + 1}


def _secret(ctx: JobContext) -> None:
    assert ctx.secret("access_token") == TOKEN


def _drain(ctx: JobContext) -> None:
    if DRAINS in os.environ:
        os.kill(os.getpid(), signal.SIGTERM)


_DEEDS: dict[str, Callable[[JobContext], None]] = {
    "effect": _effect, "checkpoint": _checkpoint, "secret": _secret, "drain": _drain,
    "progress": lambda ctx: ctx.progress(1, 2, "half"),
}

_ENDS: dict[str, Callable[[], Exception]] = {
    "failed": lambda: ValueError("as planned"), "snoozed": lambda: RetryLater(AWHILE if DRAINS in os.environ else SOON),
    "given up": lambda: GiveUp("as planned"), "cancelled": Cancel,
}
