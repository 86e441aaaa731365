"""The turnstile before a SQLite database: writers of all processes pass one at a time, in about the order they came.

Two locks on neighbour files, never on the database's own: closing a descriptor of that would drop SQLite's locks.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Turnstile:
    """Whoever holds the queue waits for the turn, so that the one who leaves cannot push in again.

    Descriptors of its own: two connections of one process exclude each other as two processes do. Measured with four
    writers: longest wait tens of milliseconds, where SQLite's own busy handler starves some for seconds.
    """

    def __init__(self, database: str) -> None:
        self._ours = False
        self._turn: int | None = None
        self._queue: int | None = None
        self._turn = open_beside(f"{database}.turnstile", database)
        self._queue = open_beside(f"{database}.turnstile-queue", database)

    def __del__(self) -> None:
        self.close()

    def enter(self, deadline: float) -> bool:
        """Wait for our turn until `deadline` (monotonic seconds); False when it did not come."""
        assert self._turn is not None, "the turnstile is closed"
        assert self._queue is not None
        try:
            if _take(self._queue, 0.0005, deadline):
                self._ours = _take(self._turn, 0.0001, deadline, growth=1.05)
            return self._ours
        except BaseException:
            self._ours = True
            self.leave()
            raise
        finally:
            fcntl.flock(self._queue, fcntl.LOCK_UN)

    @property
    def descriptor(self) -> int:
        """The descriptor of the file of turns, in which a note may be kept: locks do not mind."""
        assert self._turn is not None, "the turnstile is closed"
        return self._turn

    def leave(self) -> None:
        """Let the next one through, if it is our turn."""
        if self._ours and self._turn is not None:
            self._ours = False
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def close(self) -> None:
        """Leave, and give the files back."""
        self.leave()
        self.abandon()

    def abandon(self) -> None:
        """Give the files back without unlocking: after a fork the lock is the parent's, and stays so."""
        for descriptor in (self._turn, self._queue):
            if descriptor is not None:
                os.close(descriptor)
        self._turn = self._queue = None
        self._ours = False


@contextmanager
def only_one(file: str, like: str) -> Iterator[bool]:
    """True in the body while this process, alone of all, holds the lock on `file`; False when somebody else does."""
    descriptor = open_beside(file, like)
    try:
        yield _taken(descriptor)
    finally:
        os.close(descriptor)


def open_beside(file: str, like: str) -> int:
    """A descriptor of a lock file, with the owner and mode of `like`, as SQLite does for its own. Raises `OSError`."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    wanted, found = os.stat(like), os.fstat(descriptor)
    with suppress(PermissionError):
        if found.st_mode & 0o777 != wanted.st_mode & 0o777:
            os.fchmod(descriptor, wanted.st_mode & 0o777)
        if (found.st_uid, found.st_gid) != (wanted.st_uid, wanted.st_gid):
            os.fchown(descriptor, wanted.st_uid, wanted.st_gid)
    return descriptor


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take(descriptor: int, pause: float, deadline: float, growth: float = 1.0) -> bool:
    """Ask again and again. Only who is first in the queue may slow down (to 2 ms): in the queue patience would starve."""
    while not _taken(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * growth, 0.002)
    return True
