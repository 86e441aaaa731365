"""Handlers that misbehave while they write their history down, so that the checker can judge what became of them."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.handlers import BETWEEN_SIGNS, Run
from tests.chaos.witness import write_effect
from tests.supervisor import handlers as others
from tests.supervisor.handlers import note_start
from workers import JobContext, RetryLater

Handler = Callable[[JobContext], object]


def _recorded(handler: Handler) -> Handler:
    """The handler, with its start and its end in the history."""

    @functools.wraps(handler)
    def run_and_record(ctx: JobContext) -> object:
        run = Run(ctx)
        run.note("started")
        try:
            answer = handler(ctx)
        except BaseException as error:
            run.note("raised", error)
            raise
        run.note("returned")
        return answer

    return run_and_record


def _live_until_file(ctx: JobContext) -> None:
    run, until = Run(ctx), Path(ctx.job.parameters["until"])
    while not until.exists():
        time.sleep(BETWEEN_SIGNS)
        run.note("alive")


@_recorded
def lives_until_file(ctx: JobContext) -> None:
    """Give signs of life until a file exists, whatever anybody says."""
    note_start(ctx)
    _live_until_file(ctx)


@_recorded
def lives_until_file_once(ctx: JobContext) -> None:
    """The first attempt gives signs of life until a file exists; later ones are quick. Each writes a row of its own."""
    with ctx.transaction() as connection:
        write_effect(connection, ctx.job.id, ctx.job.lease)
    note_start(ctx)
    if ctx.job.lease == 1:
        _live_until_file(ctx)


def outlives_its_lease(ctx: JobContext) -> None:
    """The first attempt gives no sign of life after its start, as it is to be resumed after a second one; it writes then.

    Parameter `last`: what it still does once a file exists, `write` a row in a fenced transaction, or just `return`.
    """
    run = Run(ctx)
    run.note("started")
    with ctx.transaction() as connection:
        write_effect(connection, ctx.job.id, ctx.job.lease)
    note_start(ctx)
    while ctx.job.lease == 1 and not Path(ctx.job.parameters["until"]).exists():
        time.sleep(BETWEEN_SIGNS)
    if ctx.job.parameters["last"] == "write":
        with ctx.transaction() as connection:
            write_effect(connection, ctx.job.id, ctx.job.lease)
    if ctx.job.lease > 1:
        run.note("returned")


@_recorded
def raises_keyboard_interrupt(ctx: JobContext) -> None:
    """Raise what no `except Exception` catches."""
    note_start(ctx)
    raise KeyboardInterrupt


@_recorded
def leaves_a_fork(ctx: JobContext) -> None:
    """The first attempt dies in a fenced transaction and leaves a fork of itself that holds all its sockets.

    Parameter `leaves`: what the fork leaves before that, its `session` or nothing.
    """
    note_start(ctx)
    if ctx.job.lease > 1:
        return
    with ctx.transaction() as connection:
        write_effect(connection, ctx.job.id, ctx.job.lease)
        pid = os.fork()
        if pid == 0:
            if ctx.job.parameters["leaves"] == "session":
                os.setsid()
            Path(f"{ctx.job.parameters['children']} ready").touch()
            time.sleep(600)
        while not Path(f"{ctx.job.parameters['children']} ready").exists():
            time.sleep(0.01)
        fresh = Path(f"{ctx.job.parameters['children']} fresh")
        fresh.write_text(str(pid))
        fresh.rename(ctx.job.parameters["children"])  # whoever sees it reads all of it
        os.kill(os.getpid(), signal.SIGKILL)


@_recorded
def eats_memory(ctx: JobContext) -> None:
    """Take memory, and touch it, until somebody stops this."""
    note_start(ctx)
    eaten = []
    while True:
        eaten.append(b"x" * 2**20)


class Unserialisable:
    """A value that no format knows and that cannot be told."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


@_recorded
def returns_nonsense(ctx: JobContext) -> object:
    """Return what cannot be stored: something `giant`, or something `unserialisable`."""
    note_start(ctx)
    return "x" * 50_000_000 if ctx.job.parameters["what"] == "giant" else Unserialisable()


@_recorded
def snoozes_once(ctx: JobContext) -> None:
    """The first attempt asks for another one `after` seconds later."""
    note_start(ctx)
    if ctx.job.lease == 1:
        raise RetryLater(after=ctx.job.parameters["after"])


quick = _recorded(others.quick)
deaf = _recorded(others.deaf)
greedy = _recorded(others.greedy)
leaves_quietly = _recorded(others.leaves_quietly)
segfaults = _recorded(others.segfaults)
raises_system_exit = _recorded(others.raises_system_exit)
raises_the_unspeakable = _recorded(others.raises_the_unspeakable)
