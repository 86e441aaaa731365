"""Child processes: fork, watch, signal, reap. Linux first; without pidfd and prctl it falls back to plain pids."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import psutil
from setproctitle import setproctitle

from backends import open_connections

SOFTWARE_ERROR = 70
"""Exit code of a child whose main function raised (EX_SOFTWARE of sysexits.h)."""

WITH_PIDFDS = hasattr(os, "pidfd_open")
"""Where there are none, processes are known by their numbers alone."""

_PR_SET_PDEATHSIG = 1


class Ending(NamedTuple):
    """How a process ended: by a signal (0: none) or with an exit code."""

    signal: int
    exit_code: int

    def __str__(self) -> str:
        if not self.signal:
            return f"exit code {self.exit_code}"
        try:
            return f"signal {self.signal} ({signal.Signals(self.signal).name})"
        except ValueError:
            return f"signal {self.signal}"


@dataclass(frozen=True, slots=True)
class Child:
    """A process this one forked, leader of its own process group. Its pid cannot be reused before it is reaped."""

    pid: int
    pidfd: int | None
    started_at: float

    def send(self, number: int) -> None:
        """Signal this process alone; nothing happens if it is gone."""
        with contextlib.suppress(ProcessLookupError):
            if self.pidfd is not None:
                signal.pidfd_send_signal(self.pidfd, number)
            else:
                os.kill(self.pid, number)

    def send_group(self, number: int) -> None:
        """Signal this process and all it started that stayed in its group."""
        kill_group(self.pid, number)

    def stopped(self) -> bool:
        """True while the process is stopped by a signal or a tracer (state T or t)."""
        return is_stopped(self.pid)


def kill_group(group: int, number: int = signal.SIGKILL) -> None:
    """Signal a whole process group; nothing happens if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def is_stopped(pid: int) -> bool:
    """True if that process exists and is in state T or t."""
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except (psutil.Error, OSError):
        return False


def is_alive(pid: int) -> bool:
    """True if there is a process of that number that has not ended."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except (psutil.Error, OSError):
        return False


def is_child(pid: int, parent: int) -> bool:
    """True if there is a process of that number, and it is a child of `parent`."""
    try:
        return psutil.Process(pid).ppid() == parent
    except (psutil.Error, OSError):
        return False


def open_watch(pid: int, parent: int) -> int | None:
    """A pidfd of a process that is certainly a child of `parent`; None if it is not, or the system has no pidfds."""
    try:
        pidfd = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
    if is_child(pid, parent):
        return pidfd
    os.close(pidfd)
    return None


class Nursery:
    """Forks children that inherit only the descriptors they are given, and collects them when they ended."""

    def __init__(self) -> None:
        self._own: set[int] = set()

    def own(self, *descriptors: int) -> None:
        """No child keeps these descriptors open unless it is given them."""
        self._own.update(descriptors)

    def disown(self, *descriptors: int) -> None:
        """Forget descriptors that were closed."""
        self._own.difference_update(descriptors)

    def fork(
        self, main: Callable[[], int], *, title: str, now: float, keep: Iterable[int] = (), outlives: bool = False
    ) -> Child:
        """Run `main` in a child and leave with its answer as the exit code.

        The child leads its own process group, has default signals, standard input from /dev/null, and is killed with
        this process unless it `outlives` it. Raises `OSError` when the system refuses another process.
        """
        assert threading.active_count() == 1, f"fork with threads: {threading.enumerate()}"
        assert open_connections() == 0, "fork with an open database connection"
        flush_output()
        parent = os.getpid()
        former = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                _live(main, title, self._own - set(keep), None if outlives else parent)
            return self._welcome(pid, now)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    def _welcome(self, pid: int, now: float) -> Child:
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        pidfd = None
        with contextlib.suppress(AttributeError, OSError):  # without one it is watched by its pid, as where there are none
            pidfd = os.pidfd_open(pid)
            self.own(pidfd)
        return Child(pid, pidfd, now)

    def reap(self, child: Child) -> Ending | None:
        """How the child ended, or None while it lives. What is left of its process group is killed with it.

        The group is killed before the child is collected, while its number cannot belong to anybody else.
        """
        if _peek(child) is False:
            return None
        child.send_group(signal.SIGKILL)
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if pid == 0:
            return None
        if child.pidfd is not None:
            self.disown(child.pidfd)
            os.close(child.pidfd)
        code = os.waitstatus_to_exitcode(status)
        return Ending(-code, 0) if code < 0 else Ending(0, code)


def reap_strangers(known: set[int]) -> None:
    """As process 1, collect dead processes that were left to us; those in `known` are somebody's to bury."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in known:
            return
        os.waitpid(found.si_pid, os.WNOHANG)


def _peek(child: Child) -> bool | None:
    """Whether the child ended, without collecting it; None where the system cannot tell."""
    if not hasattr(os, "waitid"):
        return None
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def flush_output() -> None:
    """Write out what was printed, as far as that is possible: who read it may be gone, its disk full, and we go on."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _live(main: Callable[[], int], title: str, foreign: set[int], dies_with: int | None) -> None:
    """The whole life of a child; never returns."""
    code = SOFTWARE_ERROR
    try:
        _settle_in(title, foreign, dies_with)
        code = main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        flush_output()
        os._exit(code & 0xFF)


def _settle_in(title: str, foreign: set[int], dies_with: int | None) -> None:
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    if dies_with is not None:
        _die_with_parent(dies_with)
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    for descriptor in foreign:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    random.seed()
    setproctitle(title)
    with contextlib.suppress(ValueError, OSError):
        faulthandler.register(signal.SIGUSR1, file=sys.__stderr__ or 2, all_threads=True)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends; leave at once if that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(SOFTWARE_ERROR)
