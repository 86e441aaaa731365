"""Handlers that behave well, badly and terribly. Each notes its start as a line `pid lease` in the file it is given."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import quote

from backends import Queue
from workers import JobContext


def note_start(ctx: JobContext) -> dict[str, str]:
    given = ctx.job.parameters
    with Path(given["notes"]).open("a") as notes:
        notes.write(f"{os.getpid()} {ctx.job.lease} {ctx.job.id}\n")
    return given


def quick(ctx: JobContext) -> None:
    """Be done at once."""
    note_start(ctx)


def until_file(ctx: JobContext) -> None:
    """Run until a file exists, whatever anybody says."""
    given = note_start(ctx)
    while not Path(given["until"]).exists():
        time.sleep(0.02)


def obedient(ctx: JobContext) -> None:
    """Run until told to stop, or until a file exists."""
    given = note_start(ctx)
    while not ctx.should_stop() and not Path(given["until"]).exists():
        time.sleep(0.02)


def first_time_until_file(ctx: JobContext) -> None:
    """The first attempt hangs until a file exists; later ones are quick."""
    given = note_start(ctx)
    if ctx.job.lease == 1:
        while not Path(given["until"]).exists():
            time.sleep(0.02)


def deaf(ctx: JobContext) -> None:
    """Ignore SIGTERM and hang."""
    note_start(ctx)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


def greedy(ctx: JobContext) -> None:
    """Hold the interpreter's lock for longer than anybody waits."""
    note_start(ctx)
    re.match(r"(a+)+$", "a" * 60 + "b")


def leaves_quietly(ctx: JobContext) -> None:
    """End the process as if all were well."""
    note_start(ctx)
    os._exit(0)


def segfaults(ctx: JobContext) -> None:
    """Read where nothing is."""
    note_start(ctx)
    ctypes.string_at(0)


def raises_system_exit(ctx: JobContext) -> None:
    """Leave as scripts do."""
    note_start(ctx)
    raise SystemExit(3)


class Unspeakable(Exception):
    """An exception that cannot even be told."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def raises_the_unspeakable(ctx: JobContext) -> None:
    """Fail with an error whose text cannot be had."""
    note_start(ctx)
    raise Unspeakable


def leaves_children(ctx: JobContext) -> None:
    """Start a process that outlives its parent, and say which; then die."""
    given = note_start(ctx)
    sleeper = subprocess.Popen(["sleep", "600"])
    Path(given["children"]).write_text(str(sleeper.pid))
    os.kill(os.getpid(), signal.SIGKILL)


def leaves_an_orphan(ctx: JobContext) -> None:
    """Have a grandchild that outlives its parent for a moment, in a session of its own."""
    given = note_start(ctx)
    subprocess.run(["sh", "-c", f"setsid sh -c 'sleep 0.2; echo done > {given['children']}' &"], check=True)
    while not Path(given["children"]).exists():
        time.sleep(0.02)


def forks(ctx: JobContext) -> None:
    """Fork a child that comes out of the handler as the job says, and note how it ended."""
    given = note_start(ctx)
    with ctx.transaction() if given["how"] == "out of a transaction" else nullcontext():
        child = os.fork()
        if not child:
            if given["how"] == "by an error":
                raise ValueError("in the child")
            if given["how"] == "as scripts do":
                sys.exit(0)
            return
    _, status = os.waitpid(child, 0)
    Path(given["children"]).write_text(str(os.waitstatus_to_exitcode(status)))


def leaves_damage(ctx: JobContext) -> None:
    """Be done, and leave something behind of which the worker dies when it records that."""
    note_start(ctx)

    def settle_and_claim(*given: object) -> None:
        raise MemoryError

    Queue.settle_and_claim = settle_and_claim  # type: ignore[assignment,method-assign]


def holds_its_transaction(ctx: JobContext) -> None:
    """Open a fenced transaction and do not end it."""
    given = note_start(ctx)
    if ctx.job.lease > 1:
        return
    with ctx.transaction():
        while not Path(given["until"]).exists():
            time.sleep(0.02)


def spills(ctx: JobContext) -> None:
    """Read a secret, and do with it all that must not be done; then wait until a file exists, and fail with it."""
    secret = ctx.secret("access_token")
    assert secret
    ctx.progress(1, 2, f"using {secret}")
    ctx.log.info("spilled", what=f"it is {secret}", access_token=secret, urls=[f"https://host/?q={quote(secret)}"])
    logging.getLogger("jobqueue.spills").warning("with %s and %r", secret, {"token": secret})
    try:
        raise ValueError(json.dumps({"inner": secret}))
    except ValueError as error:
        ctx.log.error("caught", exc_info=True)
        while not Path(ctx.job.parameters["until"]).exists():
            time.sleep(0.02)
        raise RuntimeError(f"outer {secret!r}") from error


def expects_its_secret(ctx: JobContext) -> None:
    """Be done only with the right secret."""
    found = ctx.secret("access_token")
    if found != f"secret {ctx.job.parameters['n']}":
        raise ValueError(f"found {'another' if found else 'none'}")
