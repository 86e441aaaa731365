"""Handlers that write down that they live, under which lease, and what they did; they run for as long as they are told."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path
from random import Random

from workers import JobContext, RetryLater, boot_time

from .history import Recorder
from .witness import write_effect

BETWEEN_SIGNS = 0.02
"""Seconds between two signs of life."""


class Planned(Exception):
    """A failure that the workload asked for."""


@lru_cache(1)
def _recorder(folder: str, pid: int) -> Recorder:
    return Recorder(Path(folder), "worker")


class Run:
    """One attempt, and its lines in the history."""

    def __init__(self, ctx: JobContext) -> None:
        given = ctx.job.parameters
        self._recorder = _recorder(given["histories"], os.getpid())
        self._job, self._lease, self._lane = ctx.job.id, ctx.job.lease, ctx.job.lane or ""
        self.tag = ctx._tag

    def note(self, what: str) -> None:
        """Write down `started`, `alive`, `returned` or `raised`."""
        self._recorder.note("run", what, self._job, self._lease, lane=self._lane, tag=self.tag)


def steady(ctx: JobContext) -> None:
    """Live for `seconds`, write `effects` rows in fenced transactions, then end as chance, drawn from job and lease, has it."""
    run = Run(ctx)
    run.note("started")
    try:
        _live(ctx, run)
        _end(ctx)
    except BaseException:
        run.note("raised")
        raise
    run.note("returned")


def _live(ctx: JobContext, run: Run) -> None:
    given = ctx.job.parameters
    over = boot_time() + given.get("seconds", 0.0)
    for _ in range(given.get("effects", 0)):
        with ctx.transaction() as connection:
            write_effect(connection, ctx.job.id, ctx.job.lease, run.tag)
        run.note("alive")
    while boot_time() < over and not ctx.should_stop():
        time.sleep(min(BETWEEN_SIGNS, max(0.0, over - boot_time())))
        run.note("alive")
    ctx.progress(1, 1)


def _end(ctx: JobContext) -> None:
    chance = Random(f"{ctx.job.id} {ctx.job.lease}").random()
    if chance < ctx.job.parameters.get("fails", 0.0):
        raise Planned("as planned")
    if chance > 1 - ctx.job.parameters.get("snoozes", 0.0):
        raise RetryLater(after=0.2)
