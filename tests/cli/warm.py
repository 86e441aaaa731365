"""A process in which everything is imported already. Each command runs in a fork of it: a process of its own, at once."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
IMPORTED = (
    "alembic.command", "apps.extension", "backends", "config", "rich.console", "rich.progress", "rich.table",
    "supervisor.commands", "supervisor.probing", "supervisor.refusals", "supervisor.starting",
)


class Warm:
    """The side of the tests: `run` has one command run, in a folder, with these variables and standard streams."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(90)
        command = [sys.executable, "-m", "tests.cli.warm", str(theirs.fileno())]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, pass_fds=[theirs.fileno()])
        theirs.close()

    def run(
        self, arguments: Sequence[str], folder: Path, variables: Mapping[str, str], streams: tuple[int, int, int]
    ) -> int:
        """Run one command to its end; returns its exit code, negative for a signal."""
        order = {"arguments": list(arguments), "folder": str(folder), "variables": dict(variables)}
        socket.send_fds(self._channel, [json.dumps(order).encode()], list(streams))
        return int(self._channel.recv(100))

    def close(self) -> None:
        """End it."""
        self._channel.close()
        self._process.wait(10)


def serve(channel: socket.socket) -> None:
    """Run what is ordered, one command after the other, until the tests are gone."""
    for name in IMPORTED:
        importlib.import_module(name)
    while True:
        order, streams, _, _ = socket.recv_fds(channel, 1 << 20, 3)
        if not order:
            return
        pid = os.fork()
        if pid == 0:
            channel.close()
            _be_the_program(json.loads(order), streams)
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(BrokenPipeError):
            channel.send(str(os.waitstatus_to_exitcode(status)).encode())


def _be_the_program(order: Mapping[str, Any], streams: Sequence[int]) -> None:
    """What a new interpreter does before `main`, and after it; never returns."""
    code = 70
    try:
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
        sys.path.append(order["folder"])
        sys.argv = ["supervisor", *order["arguments"]]
        from supervisor.main import main

        code = main()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code & 0xFF)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
