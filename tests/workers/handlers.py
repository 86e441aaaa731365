"""Handlers for tests of the worker. Each takes what it needs from its job's parameters."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from sqlalchemy import text

from workers import Cancel, GiveUp, JobContext, RetryLater

NOTE = text("INSERT INTO jobqueue_programs (name, source) VALUES (:name, 'local')")


def _wait_for(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.005)


def quick(ctx: JobContext) -> None:
    """Be done at once."""


def until_file(ctx: JobContext) -> None:
    """Run until a file exists."""
    _wait_for(ctx.job.parameters["until"])


def uses_up_threads(ctx: JobContext) -> None:
    """Leave no thread for anybody else in this process."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threading.Thread.start = start  # type: ignore[method-assign]


def obedient(ctx: JobContext) -> None:
    """Run until told to stop."""
    while not ctx.should_stop():
        time.sleep(0.005)


def fails(ctx: JobContext) -> None:
    """Raise what a careless handler raises."""
    raise ValueError("no such folder")


class Unspeakable(Exception):
    """An error that cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("never")


def raises(ctx: JobContext) -> None:
    """Raise what the job's parameters say."""
    what = {
        "later": RetryLater(3600, "rate limited"),
        "cancel": Cancel(),
        "give up": GiveUp("folder is gone"),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "unspeakable": Unspeakable(),
        "surrogate": ValueError("\ud800 \0"),
    }
    raise what[ctx.job.parameters["what"]]


def counts_attempts(ctx: JobContext) -> None:
    """Go on from the checkpoint of earlier attempts; be done at the third."""
    ctx.checkpoint = (ctx.checkpoint or 0) + 1
    if ctx.checkpoint < 3:
        raise ValueError(f"attempt {ctx.checkpoint}")


def confides(ctx: JobContext) -> None:
    """Read a secret, and put it wherever it should not be."""
    secret = ctx.secret("access_token")
    assert secret
    assert ctx.secret("none") is None
    assert "access_token" not in ctx.job.parameters
    ctx.progress(1, 1, f"with {secret}")
    if "checkpoint" in ctx.job.parameters:
        ctx.checkpoint = {"token": secret}
    ctx.log.info("told", what=f"it is {secret}")
    try:
        raise ValueError(f"inner {secret!r}")
    except ValueError as error:
        raise RuntimeError(f"outer {secret} {json.dumps(secret)}") from error


def asks_for_a_secret(ctx: JobContext) -> None:
    """Need a token."""
    ctx.secret("access_token")


def reports(ctx: JobContext) -> None:
    """Report progress far more often than anybody wants to know."""
    for done in range(1, 1001):
        ctx.progress(done, 1000, f"file {done} \ud800\0", successful=done, failed=0)


def misreports(ctx: JobContext) -> None:
    """Report numbers that fit into no column."""
    ctx.progress(10**20, -5, "x" * 10_000)


def notes(ctx: JobContext) -> None:
    """Write a row of its own, then wait, then write another."""
    with ctx.transaction() as connection:
        connection.execute(NOTE, {"name": "before"})
    if "until" in ctx.job.parameters:
        _wait_for(ctx.job.parameters["until"])
    with ctx.transaction() as connection:
        connection.execute(NOTE, {"name": "after"})
