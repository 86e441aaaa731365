"""The worker's end of the extraction child: start it, ask it, and kill it when it takes too long."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, BinaryIO

from .source import ShouldStop, Stopped

COUNTED_BYTES = 8
STEP = 0.2
"""Seconds between two looks at whether to stop."""


class ChildDied(Exception):
    """The child ended, or was ended, without an answer; the message says how."""


class Child:
    """One warm child process. `answered` counts the documents it has read."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "apps.indexing.extractor"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
            )
        self._socket = ours
        self.answered = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(
        self, request: Mapping[str, Any], content: BinaryIO, patience: float, largest: int, should_stop: ShouldStop
    ) -> dict[str, Any]:
        """Its answer about `content`, at most `largest` bytes, within `patience` seconds. Raises `ChildDied` and `Stopped`."""
        deadline = time.monotonic() + patience
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [content.fileno()])
            length = int.from_bytes(self._receive(COUNTED_BYTES, deadline, should_stop), "big")
            if length > largest:
                raise ChildDied(f"its text takes more than {largest:,} bytes")
            answer = json.loads(self._receive(length, deadline, should_stop))
        except (ConnectionError, EOFError):
            raise ChildDied(self._how_it_ended()) from None
        self.answered += 1
        return dict(answer)

    def _receive(self, length: int, deadline: float, should_stop: ShouldStop) -> bytes:
        received = bytearray()
        while len(received) < length:
            if should_stop():
                raise Stopped
            if time.monotonic() > deadline:
                raise ChildDied("reading it takes too long")
            if select.select([self._socket], [], [], STEP)[0]:
                block = self._socket.recv(min(1 << 20, length - len(received)))
                if not block:
                    raise EOFError
                received += block
        return bytes(received)

    def _how_it_ended(self) -> str:
        code = self._process.wait(timeout=5)
        if code == -signal.SIGXCPU:
            return "reading it takes too much processor time"
        return f"reading it ended its process by {signal.Signals(-code).name}" if code < 0 else "reading it ended its process"

    def close(self) -> None:
        """End the child, whatever it does. May be called twice."""
        self._socket.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def _environment() -> dict[str, str]:
    """Where to find this package, and nothing else: what parses strangers' files must not know tokens and passwords."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join(os.path.abspath(each) for each in sys.path if os.path.isdir(each or ".")),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
    }
