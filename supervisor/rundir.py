"""The run directory: a pid file that only one supervisor can hold, a status file that anybody may read, and a request."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from config import (
    PID_FILE,
    STATUS_FILE,
    Processing,
    declare_owned,
    order_processing,
    pid_in_locked,
    processing_ordered,
    running_pid,
)

HOLD_WITHIN = 1.0
"""Seconds for which a pid file that is locked, but by no supervisor that gives its pid, is tried again: somebody looks."""

HANDED_DOWN = "JOBQUEUE_PID_FILE"
"""The environment variable by which a supervisor that starts again hands the open pid file, and its lock, to itself."""

REQUEST = "restart.request"


class AlreadyRunning(Exception):
    """Another supervisor holds this run directory; `pid` is its process."""

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(f"a supervisor already runs in {path} (pid {pid})")
        self.pid = pid


class AlreadyAsked(Exception):
    """Somebody else is asking for a restart at this moment."""


class RunDir:
    """Held for as long as the process lives; the lock goes with the process, so a stale pid file holds nobody back.

    `starts_again` is what the last word said that was taken: whether the supervisor is to start again after its end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.starts_again = False
        self._pid_file: int | None = None
        self._ordered = Processing.GO

    def hold(self, owned: bool = False) -> int:
        """Take the directory; returns the descriptor of the lock, which no child may keep. Raises `AlreadyRunning`.

        `owned` is for a supervisor that ends with its owners: it keeps the order that stands. So does one that starts again;
        any other begins with processing jobs.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        pid_file = self.path / PID_FILE
        descriptor = _handed_down(pid_file)
        starts_again = descriptor is not None
        if descriptor is None:
            descriptor = os.open(pid_file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(descriptor, self.path)
        except AlreadyRunning:
            os.close(descriptor)
            raise
        declare_owned(self.path, os.getpid() if owned else 0)
        if not owned and not starts_again:
            order_processing(self.path, Processing.GO)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._pid_file = descriptor
        return descriptor

    def say(self, status: Mapping[str, Any]) -> None:
        """Replace the status file at once and whole; a full disk only makes the status old."""
        target = self.path / STATUS_FILE
        fresh = target.with_suffix(".new")
        with contextlib.suppress(OSError):
            fresh.write_text(json.dumps(status) + "\n")
            os.replace(fresh, target)

    def take_request(self) -> None:
        """Told to end, see whether that means to start again, and remove the request: it is good for one time."""
        request = self.path / REQUEST
        self.starts_again = pid_in_locked(request) == os.getpid()
        with contextlib.suppress(OSError):
            request.unlink()

    @property
    def ordered(self) -> Processing:
        """Whether jobs are to be processed; what was ordered before while that cannot be read."""
        with contextlib.suppress(OSError):
            self._ordered = processing_ordered(self.path)
        return self._ordered

    def order_stop(self) -> None:
        """Told to end by a person, put down that nobody who watches is to start another."""
        with contextlib.suppress(OSError):
            order_processing(self.path, Processing.STOP)

    def hand_down(self) -> None:
        """Let the program that replaces this one in this process inherit the lock: nobody gets in between."""
        if self._pid_file is not None:
            os.set_inheritable(self._pid_file, True)
            os.environ[HANDED_DOWN] = str(self._pid_file)

    def leave(self) -> None:
        """Empty the pid file and let the next supervisor in; the last status stays to be read."""
        if self._pid_file is not None:
            os.ftruncate(self._pid_file, 0)
            os.close(self._pid_file)
            self._pid_file = None


@contextlib.contextmanager
def restart_request(path: Path, pid: int) -> Iterator[None]:
    """While this is open, the next SIGTERM to `pid` means that it is to start again.

    A request is as good as the life of who made it: what a crash leaves behind counts for nothing. Raises `AlreadyAsked`,
    and `OSError` when this user may not write there.
    """
    request, own = path / REQUEST, path / f"{REQUEST}.{os.getpid()}"
    descriptor = os.open(own, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, f"{pid}\n".encode())
        _put_in_place(own, request)
        own.unlink(missing_ok=True)
        yield
    finally:
        with contextlib.suppress(OSError):
            own.unlink()
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), request.stat()):
                request.unlink()
        os.close(descriptor)


def _put_in_place(own: Path, request: Path) -> None:
    with contextlib.suppress(FileExistsError):
        os.link(own, request)
        return
    if pid_in_locked(request) is not None:
        raise AlreadyAsked
    os.replace(own, request)


def _lock(descriptor: int, path: Path) -> None:
    """Lock the pid file for good. Who only looks whether anybody runs locks it too, for a moment: that is waited for."""
    deadline = time.monotonic() + HOLD_WITHIN
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        pid = running_pid(path)
        if pid or time.monotonic() > deadline:
            raise AlreadyRunning(path, pid or 0)
        time.sleep(0.005)


def _handed_down(pid_file: Path) -> int | None:
    """The open pid file that this process handed to itself when it started again; None when it did not."""
    word = os.environ.pop(HANDED_DOWN, "")
    if not word.isdecimal():
        return None
    descriptor = int(word)
    with contextlib.suppress(OSError):
        if os.path.samestat(os.fstat(descriptor), pid_file.stat()):
            os.set_inheritable(descriptor, False)
            return descriptor
        os.close(descriptor)
    return None
