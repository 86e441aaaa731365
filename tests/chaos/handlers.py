"""Handlers that write down that they live, under which lease, and what they did; they run for as long as they are told."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from backends import DatabaseUnavailable, Job, Kind, LeaseLost, Outcome
from workers import Cancel, GiveUp, JobContext, RetryLater, boot_time

from .history import Recorder
from .witness import signature, tag_of, write_effect

BETWEEN_SIGNS = 0.02
"""Seconds between two signs of life."""


class Planned(Exception):
    """A failure that the workload asked for."""


VERDICTS: dict[type[Any], str] = {Planned: "failed", GiveUp: "gave_up", RetryLater: "snoozed", Cancel: "cancelled"}
"""What a handler asks for by what it raises, in the words of the attempt that is kept of it."""


@lru_cache(1)
def _recorder(folder: str, pid: int) -> Recorder:
    return Recorder(Path(folder), "worker")


class Run:
    """One attempt, and its lines in the history."""

    def __init__(self, ctx: JobContext) -> None:
        given = ctx.job.parameters
        self._recorder = _recorder(given["histories"], os.getpid())
        self._job, self._lease = ctx.job.id, ctx.job.lease
        self.tag = ctx._tag

    def note(self, what: str, error: BaseException | None = None) -> None:
        """Write down `started`, `alive`, `returned` or `raised`; with `error`, which was raised, also what that asks for."""
        verdict = "completed" if what == "returned" else VERDICTS.get(type(error), "")
        self._recorder.note("run", what, self._job, self._lease, tag=self.tag, verdict=verdict)

    def note_haunting(self, what: str, how: str, lease: int, tag: str) -> None:
        """Write down what became of writing in a former attempt's name."""
        self._recorder.note("haunt", what, self._job, lease, key=how, tag=tag)


def steady(ctx: JobContext) -> None:
    """Live for `seconds`, write `effects` rows in fenced transactions, then end as chance, drawn from job and lease, has it.

    Before that, an attempt that is not the first tries to write in the name of the one before it.
    """
    run = Run(ctx)
    run.note("started")
    try:
        if ctx.job.lease > 1:
            _haunt(ctx, run)
        _live(ctx, run)
        _end(ctx)
    except BaseException as error:
        run.note("raised", error)
        raise
    run.note("returned")


def _live(ctx: JobContext, run: Run) -> None:
    given = ctx.job.parameters
    over = boot_time() + given.get("seconds", 0.0)
    mine = signature(ctx.job.lease, run.tag)
    for number in range(given.get("effects", 0)):
        if number == 1:
            ctx.checkpoint = mine
        with ctx.transaction() as connection:
            write_effect(connection, ctx.job.id, ctx.job.lease, run.tag)
        run.note("alive")
    while boot_time() < over and not ctx.should_stop():
        time.sleep(min(BETWEEN_SIGNS, max(0.0, over - boot_time())))
        run.note("alive")
    ctx.progress(1, 1, mine)


ENDS: dict[str, Callable[[], Exception]] = {
    "fails": lambda: Planned("as planned"), "snoozes": lambda: RetryLater(after=0.2), "gives_up": lambda: GiveUp("as planned"),
    "cancels": Cancel,
}
"""The parameters that say how often, of all attempts, one ends so."""


def _end(ctx: JobContext) -> None:
    chance = Random(f"{ctx.job.id} {ctx.job.lease}").random()
    for name, error in ENDS.items():
        chance -= ctx.job.parameters.get(name, 0.0)
        if chance < 0:
            raise error()


def _haunt(ctx: Any, run: Run) -> None:
    """Write in every way there is in the name of the attempt before this one, which nobody may accept.

    An outage ends it, so that it takes no more of the lease than this attempt would have needed without it.
    """
    lease = ctx.job.lease - 1
    try:
        tag = ctx._queue.read(lambda connection: tag_of(connection, ctx.job.id, lease))
        former = ctx.job._replace(lease=lease)
        for how, write in ways_to_write(ctx._queue, former, tag) if tag else ():
            run.note_haunting("invoke", how, lease, tag)
            run.note_haunting("ok" if is_accepted(write) else "failed", how, lease, tag)
    except DatabaseUnavailable:
        return


def is_accepted(write: Callable[[], bool]) -> bool:
    """Whether a way to write was open."""
    try:
        return write()
    except LeaseLost:
        return False


def ways_to_write(queue: Any, former: Job, tag: str) -> Iterator[tuple[str, Callable[[], bool]]]:
    """The ways to write about a running job, each of which returns whether it was let, or raises `LeaseLost`."""
    by = signature(former.lease, tag)

    def in_a_transaction() -> bool:
        with queue.transaction(tag, former) as connection:
            write_effect(connection, former.id, former.lease, tag)
        return True

    def settle(kind: Kind) -> bool:
        return former not in queue.settle(tag, [(former, Outcome(kind, "by one who was superseded"))])

    yield "progress", lambda: queue.progress(tag, former, {"progress_message": by}) is None
    yield "checkpoint", lambda: queue.checkpoint(tag, former, f'"{by}"') is None
    yield "transaction", in_a_transaction
    yield "success", lambda: settle(Kind.COMPLETED)
    yield "failure", lambda: settle(Kind.FAILED)
    if not queue.held([tag]):  # else others of that claim live, whose leases would be renewed
        yield "renewal", lambda: former.id in [renewed.job_id for renewed in queue.heartbeat([tag])]
