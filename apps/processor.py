"""`JobQueueProcessor`: the job processor as an object. Wherever it is made, one supervisor a host and configuration runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from config import (
    SUPERVISED,
    Loaded,
    Processing,
    find_config,
    has_owner,
    is_owned,
    is_resting,
    load,
    order_processing,
    processing_ordered,
    read_status,
    running_pid,
)

from .watching import Watch

PROCESSING = ("starting", "running", "quiet")
"""States of a supervisor that keeps workers."""

STOP_MARGIN = 15.0
"""Seconds beside `shutdown_timeout` that a supervisor may take to rest or to end before it is waited for no longer."""

LEAVE_WITHIN = 5.0
"""Seconds that a supervisor which has let its run directory go may take to end."""

SILENCE = 10.0
"""A supervisor writes its status each second; older than this, nobody watches the workers."""

LOOK = 0.05


@dataclass(frozen=True, slots=True)
class ProcessorStatus:
    """How the processor is. `process_id` is None while none runs.

    `running`: a supervisor holds the run directory and keeps workers. `thread_alive`: the thread that watches over the
    supervisor lives (under a supervisor: that one gives signs of life). `shutdown_requested`: the order to stop stands.
    """

    process_id: str | None
    running: bool
    thread_alive: bool
    shutdown_requested: bool


class JobQueueProcessor:
    """Starts, stops and watches the processor of a configuration; for any number of threads and processes at once.

    The supervisor is another program in a session of its own. It lives for as long as any process has it `open`, is
    started again when it dies, and is found, not doubled, by whoever comes next. One that an operator started is only
    watched. `start` and `stop` say whether jobs are to be processed; the last word said by anybody holds. Under a
    supervisor that serves the API as its child, they steer that one.
    """

    def __init__(self, config_path: str | Path | None = None, *, read: Callable[[], Loaded] | None = None) -> None:
        """`config_path` is found as the commands find it; `read` gives a configuration that somebody else has loaded."""
        self._read = read or (lambda: load(find_config(str(config_path) if config_path else None)))
        self._supervised = os.environ.get(SUPERVISED)
        self._loaded: Loaded | None = None
        self._lock = threading.RLock()
        self._watch: Watch | None = None
        self._opened_by_start = False

    # Its life

    def open(self) -> None:
        """Own the processor from now on, and see to it that it runs. Returns at once, and does not fail.

        What keeps it from running, an error in the configuration for example, is logged and tried again.
        """
        with self._lock:
            if self._supervised is None and self._watch is None:
                self._watch = Watch(self._load)
                self._watch.begin()

    def close(self) -> None:
        """Own it no more. The last owner's end is the supervisor's: it is waited for until it has drained."""
        with self._lock:
            watch, self._watch = self._watch, None
            self._opened_by_start = False
        self._see_off(watch)

    def __enter__(self) -> JobQueueProcessor:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What people order

    def start(self) -> bool:
        """Order jobs to be processed; False when they were already. Raises `config.ConfigError`, and `OSError`."""
        run_dir = self._run_dir
        with self._lock:
            was_running = self._processes(run_dir)
            if self._watch is None and self._supervised is None:
                self._opened_by_start = True
                self.open()
            order_processing(run_dir, Processing.GO)
            if self._watch is not None:
                self._watch.look_now()
        return not was_running

    def stop(self, wait: bool = True) -> bool:
        """Order that no jobs are processed; False when none were. Running ones finish within `shutdown_timeout`.

        With `wait`, it is over when this returns, unless somebody ordered a start meanwhile. An object that was opened by
        `start` is closed, too. Raises `config.ConfigError`, and `OSError`.
        """
        run_dir = self._run_dir
        was_running = self._processes(run_dir)
        order_processing(run_dir, Processing.STOP)
        if wait:
            self._wait_for(_rests)
            self._close_what_start_opened(run_dir)
        return was_running

    def status(self) -> ProcessorStatus:
        """How it is at this moment. Raises `config.ConfigError`."""
        run_dir = self._run_dir
        said = _said(run_dir)
        return ProcessorStatus(
            process_id=_name_of(said),
            running=said.get("state") in PROCESSING,
            thread_alive=self._is_watched(said),
            shutdown_requested=processing_ordered(run_dir) is Processing.STOP,
        )

    @property
    def draining(self) -> bool:
        """Whether the supervisor that serves this API ends, and the API with it. Raises `config.ConfigError`."""
        return self._supervised is not None and _said(self._run_dir).get("state") == "draining"

    # Inside

    @property
    def _run_dir(self) -> Path:
        return Path(self._supervised) if self._supervised else self._load().settings.run_dir

    def _load(self) -> Loaded:
        if self._loaded is None:
            self._loaded = self._read()
        return self._loaded

    def _is_watched(self, said: dict[str, Any]) -> bool:
        if self._supervised is None:
            watch = self._watch
            return watch is not None and watch.is_alive()
        return bool(said) and (datetime.now(UTC) - datetime.fromisoformat(said["written_at"])).total_seconds() < SILENCE

    def _processes(self, run_dir: Path) -> bool:
        return self.status().running and processing_ordered(run_dir) is Processing.GO

    def _close_what_start_opened(self, run_dir: Path) -> None:
        with self._lock:
            is_over = self._opened_by_start and processing_ordered(run_dir) is Processing.STOP
            watch = self._watch if is_over else None
            if is_over:
                self._watch, self._opened_by_start = None, False
        self._see_off(watch)

    def _see_off(self, watch: Watch | None) -> None:
        if watch is not None and watch.end():
            self._wait_for(_is_over)
            watch.bury(within=LEAVE_WITHIN)

    def _wait_for(self, done: Callable[[Path], bool]) -> None:
        run_dir = self._run_dir
        deadline = time.monotonic() + self._load().settings.shutdown_timeout + STOP_MARGIN
        while not done(run_dir) and time.monotonic() < deadline:
            time.sleep(LOOK)


def _is_over(run_dir: Path) -> bool:
    """Whether the last owner has nothing to wait for: its supervisor ended, is nobody's to end, or was taken over."""
    pid = running_pid(run_dir)
    return pid is None or not is_owned(run_dir, pid) or has_owner(run_dir)


def _rests(run_dir: Path) -> bool:
    """Whether the order to stop was obeyed, or stands no more."""
    return processing_ordered(run_dir) is Processing.GO or is_resting(run_dir)


def _said(run_dir: Path) -> dict[str, Any]:
    """What the supervisor that runs says of itself; nothing while none runs, or it has said nothing yet."""
    pid = running_pid(run_dir)
    said = read_status(run_dir) if pid else None
    return said if said and said["pid"] == pid else {}


def _name_of(said: dict[str, Any]) -> str | None:
    return f"processor_{said['id']}" if said else None
