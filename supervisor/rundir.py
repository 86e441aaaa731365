"""The run directory: a pid file that only one supervisor can hold, and a status file that anybody may read."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class AlreadyRunning(Exception):
    """Another supervisor holds this run directory; `pid` is its process."""

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(f"a supervisor already runs in {path} (pid {pid})")
        self.pid = pid


class RunDir:
    """Held for as long as the process lives; the lock goes with the process, so a stale pid file holds nobody back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pid_file: int | None = None

    def hold(self) -> int:
        """Take the directory; returns the descriptor of the lock, which no child may keep. Raises `AlreadyRunning`."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path / "supervisor.pid", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise AlreadyRunning(self.path, running_pid(self.path) or 0) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._pid_file = descriptor
        return descriptor

    def say(self, status: Mapping[str, Any]) -> None:
        """Replace the status file at once and whole; a full disk only makes the status old."""
        target = self.path / "status.json"
        fresh = target.with_suffix(".new")
        with contextlib.suppress(OSError):
            fresh.write_text(json.dumps(status) + "\n")
            os.replace(fresh, target)

    def leave(self) -> None:
        """Empty the pid file and let the next supervisor in; the last status stays to be read."""
        if self._pid_file is not None:
            os.ftruncate(self._pid_file, 0)
            os.close(self._pid_file)
            self._pid_file = None


def running_pid(path: Path) -> int | None:
    """The process that holds this run directory, or None when nobody does."""
    try:
        descriptor = os.open(path / "supervisor.pid", os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.read(descriptor, 32).strip() or 0) or None
    finally:
        os.close(descriptor)
    return None


def read_status(path: Path) -> dict[str, Any] | None:
    """What the supervisor of this run directory said last, or None if it never said anything."""
    try:
        status: dict[str, Any] = json.loads((path / "status.json").read_text())
    except (OSError, ValueError):
        return None
    return status
