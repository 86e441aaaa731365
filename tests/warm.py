"""A process in which everything is imported already. What the tests start runs in a fork of it: a process of its own, at once."""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import setproctitle

from tests.audit import forbid_opening_databases
from tests.support import REPOSITORY, die_with_parent

IMPORTED = (
    "alembic.command", "apps.extension", "backends", "config", "psycopg", "rich.console", "rich.progress", "rich.table",
    "sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite.pysqlite", "supervisor.commands", "supervisor.loop",
    "supervisor.maintenance", "supervisor.probing", "supervisor.refusals", "supervisor.starting", "workers.worker",
)


class Started:
    """A process that was started, for who waits for it: what `subprocess.Popen` offers of that."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        link.settimeout(60)
        pid, pidfds, _, _ = socket.recv_fds(link, 100, 1)
        assert pid, "the process that starts others is gone: see what it wrote"
        self.pid, [self._pidfd] = int(pid), pidfds
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises `TimeoutExpired`."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._link], [], [], timeout)[0]:
            said = self._link.recv(100)
            assert said, "the process that started it is gone: see what it wrote"
            self.returncode = int(said)
            self._link.close()
            os.close(self._pidfd)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal it, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        """Tell it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Warm:
    """The side of the tests."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.warm", str(theirs.fileno())]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, pass_fds=[theirs.fileno()])
        theirs.close()

    def close(self) -> None:
        """End it; what was started with it is told to end, too."""
        self._channel.close()
        self._process.wait(10)

    def start(
        self, program: str, arguments: Sequence[str], folder: Path, variables: Mapping[str, str], streams: tuple[int, int, int]
    ) -> Started:
        """Start `main()` of that module, in a folder, with these variables and standard streams."""
        order = {"program": program, "arguments": list(arguments), "folder": str(folder), "variables": dict(variables)}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(self._channel, [json.dumps(order).encode()], [*streams, theirs.fileno()])
        theirs.close()
        return Started(ours)


@functools.cache
def warm() -> Warm:
    """The one of this process; it ends with it."""
    the_one = Warm()
    atexit.register(the_one.close)
    return the_one


def serve(channel: socket.socket) -> None:
    """Start what is ordered and tell of each end, until the tests are gone."""
    for name in IMPORTED:
        importlib.import_module(name)
    setproctitle.getproctitle()  # finds the room for titles, which is beside the variables, while they are what they were
    links: dict[int, tuple[int, socket.socket]] = {}
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready != channel.fileno():
                poll.unregister(ready)
                _tell_the_end(ready, *links.pop(ready))
                continue
            order, descriptors, _, _ = socket.recv_fds(channel, 1 << 20, 4)
            if not order:
                return
            link = socket.socket(fileno=descriptors.pop())
            pid = os.fork()
            if pid == 0:
                _close(channel.fileno(), link.fileno(), *links, *(other.fileno() for _, other in links.values()))
                _be_the_program(json.loads(order), descriptors)
            _close(*descriptors)
            pidfd = os.pidfd_open(pid)
            socket.send_fds(link, [str(pid).encode()], [pidfd])
            links[pidfd] = pid, link
            poll.register(pidfd, select.POLLIN)


def _tell_the_end(pidfd: int, pid: int, link: socket.socket) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        link.send(str(code).encode())
    link.close()
    os.close(pidfd)


def _close(*descriptors: int) -> None:
    for each in descriptors:
        os.close(each)


def _be_the_program(order: Mapping[str, Any], streams: Sequence[int]) -> None:
    """What a new interpreter does before `main`, and after it: wait for threads, run what is to run at exit; never returns."""
    code: object = 70
    try:
        os.setsid()
        die_with_parent(signal.SIGTERM)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(number, mode, buffering, closefd=False)
            for number, mode, buffering in ((0, "r", -1), (1, "w", -1), (2, "w", 1))
        )
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["variables"])
        time.tzset()
        sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        sys.argv = [order["program"], *order["arguments"]]
        sys.orig_argv = [sys.executable, "-m", *sys.argv]
        forbid_opening_databases()
        code = importlib.import_module(order["program"]).main()
    except SystemExit as end:
        code = end.code
        if not isinstance(code, int | None):
            print(code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for written in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                written.flush()
        os._exit((code if isinstance(code, int) else bool(code)) & 0xFF)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
