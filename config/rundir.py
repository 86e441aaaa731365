"""The run directory, as everybody may read it: who supervises, what it said last, and whether jobs are to be processed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from enum import StrEnum
from pathlib import Path
from typing import Any

SUPERVISED = "JOBQUEUE_SUPERVISED"
"""The environment variable that names to a supervisor's children its run directory: they start no supervisor of their own."""

PID_FILE = "supervisor.pid"
STATUS_FILE = "status.json"
ORDER_FILE = "processing"


class Processing(StrEnum):
    """The order that stands for the supervisor of a run directory: process jobs, or rest."""

    GO = "go"
    STOP = "stop"


def running_pid(run_dir: Path) -> int | None:
    """The process that holds this run directory, or None when nobody does."""
    return pid_in_locked(run_dir / PID_FILE)


def read_status(run_dir: Path) -> dict[str, Any] | None:
    """What the supervisor of this run directory said last, or None if it never said anything."""
    try:
        status: dict[str, Any] = json.loads((run_dir / STATUS_FILE).read_text())
    except (OSError, ValueError):
        return None
    return status


def is_resting(run_dir: Path) -> bool:
    """Whether nobody processes jobs here because that was ordered, or because no supervisor runs."""
    pid = running_pid(run_dir)
    if pid is None:
        return True
    said = read_status(run_dir) or {}
    rests = said.get("pid") == pid and said["state"] == "resting"
    return rests and not any(worker["pid"] for worker in said["workers"])


def order_processing(run_dir: Path, order: Processing) -> None:
    """Have the supervisor of this run directory process jobs or rest, now or when there is one; the last order holds.

    Raises `OSError` when this user may not write there.
    """
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = run_dir / f"{ORDER_FILE}.{os.getpid()}.{threading.get_ident()}"
    fresh.write_text(f"{order}\n")
    os.replace(fresh, run_dir / ORDER_FILE)


def processing_ordered(run_dir: Path) -> Processing:
    """The order that stands; `GO` when nobody gave one. Raises `OSError` when that cannot be read."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
        return Processing((run_dir / ORDER_FILE).read_text().strip())
    return Processing.GO


def pid_in_locked(file: Path) -> int | None:
    """The pid that stands in a file that somebody holds locked; None when nobody does, or nothing stands there yet."""
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(descriptor, 32, 0).strip() or 0) or None
    finally:
        os.close(descriptor)
    return None
