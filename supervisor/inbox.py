"""What can wake the supervisor: signals, which only drop their number in a box, and descriptors it watches."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Iterable

SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
)
"""The signals a supervisor listens to; what they mean is told by one `match` in its loop."""


class Inbox:
    """A box that signals fall into, and the one place where the supervisor waits."""

    def __init__(self, signals: Iterable[int] = SIGNALS) -> None:
        self._out, self._in = os.pipe()
        os.set_blocking(self._out, False)
        os.set_blocking(self._in, False)
        self._selector = selectors.PollSelector()
        self.watch_only(())
        signal.set_wakeup_fd(self._in, warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, _drop)

    @property
    def descriptors(self) -> tuple[int, int]:
        """Both ends of the box, which no child may keep."""
        return self._out, self._in

    def watch_only(self, descriptors: Iterable[int]) -> None:
        """Wake up when one of these becomes readable, and of no others."""
        wanted = {self._out, *descriptors}
        for key in list(self._selector.get_map().values()):
            if key.fd not in wanted:
                self._selector.unregister(key.fd)
        for descriptor in wanted - {key.fd for key in self._selector.get_map().values()}:
            self._selector.register(descriptor, selectors.EVENT_READ)

    def take(self) -> list[int]:
        """The numbers of the signals that arrived since the last call, in order."""
        try:
            return list(os.read(self._out, 65536))
        except BlockingIOError:
            return []

    def wait(self, seconds: float) -> None:
        """Sleep until something happens, at most so long."""
        self._selector.select(max(0.0, seconds))


def _drop(number: int, frame: object) -> None:
    """Nothing: the interpreter has written the number to the wake-up descriptor already."""
