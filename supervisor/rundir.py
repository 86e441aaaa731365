"""The run directory: a pid file that only one supervisor can hold, a status file that anybody may read, and a request."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
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
    `is_passing`: the directory is removed at the end.
    """

    def __init__(self, path: Path, is_passing: bool = False) -> None:
        self.path, self.is_passing = path, is_passing
        self.starts_again = False
        self._pid_file: int | None = None
        self._is_owned = False
        self._ordered = Processing.GO

    def hold(self, owned: bool = False) -> int:
        """Take the directory; returns the descriptor of the lock, which no child may keep. Raises `AlreadyRunning`.

        `owned` is for a supervisor that ends with its owners: it keeps the order that stands. So does one that starts again;
        any other begins with processing jobs.
        """
        handed_down = _handed_down(self.path / PID_FILE)
        descriptor = _locked(self.path) if handed_down is None else handed_down
        self._is_owned = owned
        self._move_in(descriptor, None if owned or handed_down is not None else Processing.GO)
        self._pid_file = descriptor
        return descriptor

    def restore(self) -> bool:
        """Make a directory that was removed again, with the order that stood; False when there was no need.

        Until then nothing kept others from starting: raises `AlreadyRunning` when one did, and `OSError`.
        """
        if self._pid_file is None or self._is_ours:
            return False
        descriptor = _locked(self.path)
        try:
            self._move_in(descriptor, self._ordered)
            os.dup2(descriptor, self._pid_file, inheritable=False)
        finally:
            os.close(descriptor)  # and with it the lock, unless it was taken over: the next try must not meet its own
        return True

    def _move_in(self, descriptor: int, order: Processing | None) -> None:
        declare_owned(self.path, os.getpid() if self._is_owned else 0)
        if order is not None:
            order_processing(self.path, order)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    @property
    def _is_ours(self) -> bool:
        """Whether others who look find the pid file that we hold."""
        return self._pid_file is None or _stands_at(self._pid_file, self.path / PID_FILE)

    def say(self, status: Mapping[str, Any]) -> None:
        """Replace the status file at once and whole; a full disk only makes the status old."""
        target = self.path / STATUS_FILE
        fresh = target.with_suffix(".new")
        if not self._is_ours:
            return
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
            ordered = processing_ordered(self.path)
            self._ordered = ordered if self._is_ours else self._ordered
        return self._ordered

    def order_stop(self) -> None:
        """Told to end by a person, put down that nobody who watches is to start another."""
        with contextlib.suppress(OSError):
            if self._is_ours:
                order_processing(self.path, Processing.STOP)

    def hand_down(self) -> None:
        """Let the program that replaces this one in this process inherit the lock: nobody gets in between."""
        if self._pid_file is not None:
            os.set_inheritable(self._pid_file, True)
            os.environ[HANDED_DOWN] = str(self._pid_file)

    def leave(self) -> None:
        """Empty the pid file and let the next supervisor in; the last status stays to be read, if the directory does."""
        if self._pid_file is not None:
            os.ftruncate(self._pid_file, 0)
            if self.is_passing and self._is_ours:
                shutil.rmtree(self.path, ignore_errors=True)
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


def _locked(path: Path) -> int:
    """The pid file, locked; made if there is none. Raises `AlreadyRunning`, and `OSError`."""
    while True:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path / PID_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise
        if _stands_at(descriptor, path / PID_FILE):
            os.ftruncate(descriptor, 0)  # whoever stands there is dead, and must not be signalled in our place
            return descriptor
        os.close(descriptor)  # who held it removed it meanwhile


def _stands_at(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except OSError:
        return False


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
    if _stands_at(descriptor, pid_file):
        os.set_inheritable(descriptor, False)
        return descriptor
    with contextlib.suppress(OSError):
        os.close(descriptor)
    return None
