"""Who owns a supervisor: it runs for as long as any process holds its run directory's file of owners locked.

A lock ends with its process, however that ends, so nobody has to be counted and nobody can be forgotten.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from .rundir import Processing, order_processing, running_pid

OWNERS_FILE = "owners"
OWNED_FILE = "owned"

_LEFT_IN_ORDER = b"left\n"
_LOOKS = 5
_BETWEEN_LOOKS = 0.005
"""Somebody who only looks holds the file for a moment: a refusal counts when it was met so often in a row."""


class Ownership:
    """One process's share in the supervisor of a run directory. Not for several threads at once."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._held: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this is an owner now."""
        return self._held is not None

    def join(self) -> None:
        """Become an owner. The first one, when no supervisor runs, begins afresh: an old order to stop is lifted.

        For one who is an owner already it does nothing, unless the run directory was removed: then it is joined again. Raises
        `OSError` when this user may not write to the run directory.
        """
        former = self._held
        if former is not None and _stands_in(self.run_dir, former):
            return
        descriptor = _open(self.run_dir)
        try:
            if former is None and _is_alone(descriptor) and running_pid(self.run_dir) is None:
                order_processing(self.run_dir, Processing.GO)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            os.ftruncate(descriptor, 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._held = descriptor
        if former is not None:
            os.close(former)

    def leave(self) -> bool:
        """Be an owner no more; True for the last, whose supervisor then ends at once instead of waiting for another."""
        if self._held is None:
            return False
        os.close(self._held)
        self._held = None
        descriptor = _open(self.run_dir)
        try:
            if not _is_alone(descriptor):
                return False
            os.pwrite(descriptor, _LEFT_IN_ORDER, 0)
            return True
        finally:
            os.close(descriptor)


class Owners:
    """The owned supervisor's view of all of them."""

    def __init__(self, run_dir: Path, grace: float) -> None:
        self.run_dir, self.grace = run_dir, grace
        self.descriptor = _open(run_dir)
        self._gone_since: float | None = None

    def are_gone(self, now: float) -> bool:
        """True when the last one left in order, or nobody took its place for `grace` seconds after it ended otherwise."""
        self._follow()
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._gone_since = None
            return False
        in_order = os.pread(self.descriptor, len(_LEFT_IN_ORDER), 0) == _LEFT_IN_ORDER
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        self._gone_since = now if self._gone_since is None else self._gone_since
        return in_order or now - self._gone_since >= self.grace


    def _follow(self) -> None:
        """Look where owners join now: they find each other again in a run directory that was removed."""
        if not _stands_in(self.run_dir, self.descriptor):
            with contextlib.suppress(OSError):
                descriptor = _open(self.run_dir)
                os.dup2(descriptor, self.descriptor, inheritable=False)
                os.close(descriptor)


def has_owner(run_dir: Path) -> bool:
    """Whether any process owns the supervisor of this run directory."""
    descriptor = _open(run_dir)
    try:
        return not _is_alone(descriptor)
    finally:
        os.close(descriptor)


def declare_owned(run_dir: Path, pid: int) -> None:
    """Say of the supervisor that holds this run directory that it has owners (0: that it has none)."""
    fresh = run_dir / f"{OWNED_FILE}.new"
    fresh.write_text(f"{pid}\n")
    os.replace(fresh, run_dir / OWNED_FILE)


def is_owned(run_dir: Path, pid: int) -> bool:
    """Whether the supervisor of that pid ends with its owners; one that an operator started does not."""
    try:
        return int((run_dir / OWNED_FILE).read_text()) == pid
    except (OSError, ValueError):
        return False


def _open(run_dir: Path) -> int:
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(run_dir / OWNERS_FILE, os.O_RDWR | os.O_CREAT, 0o644)


def _stands_in(run_dir: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), (run_dir / OWNERS_FILE).stat())
    except OSError:
        return False


def _is_alone(descriptor: int) -> bool:
    for look in range(_LOOKS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_BETWEEN_LOOKS if look < _LOOKS - 1 else 0)
        else:
            return True
    return False
