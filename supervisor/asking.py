"""Asks the API for a sign of life as a client does, and never waits for the answer."""

from __future__ import annotations

import contextlib
import socket

from .children import Nursery

ASK_EVERY = 2.5
"""Seconds from one question to the next."""

PATIENCE = 10.0
"""Seconds without any answer after which an API hangs."""

QUESTION = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nUser-Agent: jobqueue-supervisor\r\nConnection: close\r\n\r\n"


class Asking:
    """One question at a time to the process behind a listening socket; whatever it answers is a sign of life."""

    def __init__(self, nursery: Nursery, listening: socket.socket, now: float) -> None:
        self._nursery = nursery
        self._family, self._place = listening.family, listening.getsockname()
        self._connection: socket.socket | None = None
        self._unsent = b""
        self._asked_at = self._answered_at = now

    @property
    def descriptors(self) -> list[int]:
        """What wakes the supervisor when the answer is there."""
        return [self._connection.fileno()] if self._connection else []

    def silence(self, now: float) -> float:
        """Seconds since the last answer. Asks when it is time to."""
        self._listen(now)
        if now - self._asked_at >= ASK_EVERY:
            self._ask(now)
        return now - self._answered_at

    def close(self) -> None:
        """Do not wait for an answer."""
        if self._connection is not None:
            self._nursery.disown(self._connection.fileno())
            self._connection.close()
            self._connection = None

    def _ask(self, now: float) -> None:
        self.close()
        self._asked_at, self._unsent = now, QUESTION
        try:
            self._connection = socket.socket(self._family, socket.SOCK_STREAM)
        except OSError:
            self._answered_at = now  # it is we who have no descriptor left
            return
        self._nursery.own(self._connection.fileno())
        self._connection.setblocking(False)
        self._connection.connect_ex(self._place)
        self._send()

    def _send(self) -> None:
        if self._connection is not None and self._unsent:
            with contextlib.suppress(OSError):  # not connected yet, or never: who does not answer is found out by that
                self._unsent = self._unsent[self._connection.send(self._unsent) :]

    def _listen(self, now: float) -> None:
        self._send()
        if self._connection is None:
            return
        try:
            if self._connection.recv(4096):
                self._answered_at = now
        except BlockingIOError:
            return
        except OSError:
            if self._unsent:
                return
        self.close()
