"""The thread that watches over an owned supervisor: starts it, starts it again when it died, and lets nobody double it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from config import Loaded, Ownership, Processing, is_owned, processing_ordered, running_pid

LOOK_EVERY = 0.5
"""Seconds between two looks whether it lives."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a supervisor that did not come up, or died, is started again: at once the first time, then doubled."""

PATIENCE = 2.0
"""Seconds between two tries while the configuration, or the run directory, cannot be used."""

DRAINED, REFUSED = 0, 5
"""Exit codes of a supervisor that did as it was told, and of one that found another: no failures."""

OPERATORS_TURN = 10.0
"""Seconds that an operator, or an init system, has to start a supervisor again that died, before one is started here."""

STEADY = 60.0
"""A supervisor that lived so long is no part of a series of failures."""

PROGRAM = ("-P", "-m", "supervisor.main", "start", "--no-api", "--while-owned", "-c")
STANDARD_ERROR = 2
HOME = Path(__file__).resolve().parent.parent

_log = structlog.get_logger("jobqueue.processor")


class Watch(threading.Thread):
    """One for each process. `begin()` begins to own and to watch, `end()` ends both."""

    def __init__(self, read: Callable[[], Loaded]) -> None:
        super().__init__(name="jobqueue processor watch", daemon=True)
        self._read = read
        self._wake, self._ending = threading.Event(), threading.Event()
        self._ownership: Ownership | None = None
        self._launch: Launch | None = None
        self._was_last = False
        self._complained = ""
        self._failures, self._not_before = 0, 0.0

    def begin(self) -> None:
        """Own the supervisor when this returns, unless something is wrong: that is logged, and tried again by the thread."""
        self._try(self._look)
        self.start()

    def look_now(self) -> None:
        """Do not wait for the next look, nor for the end of a pause: somebody ordered a start."""
        self._not_before = 0.0
        self._wake.set()

    def end(self) -> bool:
        """Watch and own no more; True when nobody else owns the supervisor, which therefore ends now."""
        self._ending.set()
        self._wake.set()
        self.join()
        return self._was_last

    def bury(self, within: float) -> None:
        """After `end`, see the process off if this watch started it and it ended, or is about to."""
        if self._launch is not None:
            self._launch.see_off(within)

    def run(self) -> None:
        """Look, until told to end. Whatever goes wrong is said once and tried again."""
        while not self._ending.is_set():
            self._wake.clear()
            self._wake.wait(LOOK_EVERY if self._try(self._look) else PATIENCE)
        if self._launch is not None:
            self._launch.abandon()
        self._was_last = self._ownership is not None and self._ownership.leave()

    def _try(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except Exception as error:  # a watch that ends would leave the processor to itself
            self._complain(str(error))
            return False
        self._complained = ""
        return True

    def _complain(self, problem: str) -> None:
        if problem != self._complained:
            self._complained = problem
            _log.error("processor.not_started", reason=problem)

    def _join(self) -> Path:
        run_dir = self._read().settings.run_dir
        if self._ownership is None:
            self._ownership = Ownership(run_dir)
        self._ownership.join()
        return run_dir

    def _look(self) -> None:
        """Start the supervisor if it is wanted, none runs, and the pause after a failure is over."""
        run_dir = self._join()
        if self._launch is not None:
            self._follow(self._launch)
        pid = running_pid(run_dir)
        if pid is not None:
            self._give_way(run_dir, pid)
        elif self._launch is None and self._may_start(run_dir):
            self._launch = Launch.of(self._read())

    def _may_start(self, run_dir: Path) -> bool:
        return processing_ordered(run_dir) is Processing.GO and time.monotonic() >= self._not_before

    def _give_way(self, run_dir: Path, pid: int) -> None:
        """Where an operator's supervisor runs, its restart after a crash is the operator's to do, for a while."""
        if not is_owned(run_dir, pid):
            self._not_before = time.monotonic() + OPERATORS_TURN

    def _follow(self, launch: Launch) -> None:
        code = launch.look()
        if code is None:
            return
        self._launch = None
        if time.monotonic() - launch.began >= STEADY:
            self._failures = 0
        if code not in (DRAINED, REFUSED):
            self._pause(code)

    def _pause(self, code: int) -> None:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 16)) if self._failures else 0.0
        self._failures += 1
        self._not_before = time.monotonic() + pause
        _log.warning("processor.lost", exit_code=code, again_in=pause)


class Launch:
    """One start of a supervisor; the lock keeps all other watches of the host from starting another until it is up."""

    def __init__(self, lock: int, process: subprocess.Popen[bytes], run_dir: Path) -> None:
        self.began = time.monotonic()
        self._lock: int | None = lock
        self._process, self._run_dir = process, run_dir

    @classmethod
    def of(cls, loaded: Loaded) -> Launch | None:
        """Start one; None when somebody else does. Raises `OSError` when the system refuses."""
        run_dir = loaded.settings.run_dir
        lock = os.open(run_dir / "launch", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if running_pid(run_dir) is None:
                return cls(lock, _start(loaded.path, run_dir), run_dir)
        except BlockingIOError:
            pass
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
        return None

    def look(self) -> int | None:
        """The exit code when it ended; None while it lives. Once it is up, others may look for themselves."""
        code = self._process.poll()
        if code is not None or running_pid(self._run_dir) == self._process.pid:
            self._let_go()
        return code

    def abandon(self) -> None:
        """Leave it to its other owners; one that is not up yet is killed, for it cannot see whether there are any."""
        self.look()
        if self._lock is not None:
            self._process.kill()
            self._process.wait()
            self._let_go()

    def see_off(self, within: float) -> None:
        """Collect the process, which is about to end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within)

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _start(config: Path, run_dir: Path) -> subprocess.Popen[bytes]:
    """Run the supervisor as another program: nothing of this process is forked, and no key pressed here reaches it.

    It reads the file anew, but has to meet its owners where they are.
    """
    python_path = os.pathsep.join([str(HOME), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, *PROGRAM, str(config)], stdin=subprocess.DEVNULL, stdout=STANDARD_ERROR,
        start_new_session=True, env={**os.environ, "PYTHONPATH": python_path, "JOBQUEUE__RUN_DIR": str(run_dir)},
    )
