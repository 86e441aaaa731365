"""A line of JSON messages between two of our processes, over a socket or pipe that never blocks."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from typing import Any

_MOST_UNSENT = 1_000_000


class Channel:
    """One end. `closed` turns true when the other end is gone."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.closed = False
        self._unsent = b""
        self._unread = b""

    @staticmethod
    def pair() -> tuple[Channel, Channel]:
        """Two ends that hear each other."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return Channel(ours.detach()), Channel(theirs.detach())

    def send(self, message: dict[str, Any]) -> bool:
        """Send now or with a later `flush`; False if it was not taken because too much is waiting or nobody listens."""
        if self.closed or len(self._unsent) > _MOST_UNSENT:
            return False
        self._unsent += json.dumps(message).encode() + b"\n"
        self.flush()
        return True

    def flush(self) -> bool:
        """Send what is waiting as far as the other end takes it; True when nothing is left."""
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self.descriptor, self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
        return not self._unsent

    def receive(self) -> list[dict[str, Any]]:
        """The whole messages that arrived."""
        try:
            while not self.closed:
                some = os.read(self.descriptor, 65536)
                self.closed = not some
                self._unread += some
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
        *lines, self._unread = self._unread.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Give up this end."""
        self.closed = True
        with contextlib.suppress(OSError):
            os.close(self.descriptor)
