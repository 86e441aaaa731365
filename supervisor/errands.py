"""One-shot children: something is done in a process of its own, under a deadline, and reported back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from .channel import Channel
from .children import Ending, Nursery

Tell = Callable[[dict[str, Any]], None]


class Errand:
    """One such child. `look()` until `ended` is known; `messages` is what it told, in order.

    Raises `OSError` when the system refuses another process or another descriptor.
    """

    def __init__(
        self, nursery: Nursery, work: Callable[[Tell], int], *, title: str, now: float, within: float
    ) -> None:
        self.messages: list[dict[str, Any]] = []
        self.ended: Ending | None = None
        self.out_of_time = False
        self.within = within
        self.started = now
        self._deadline = now + within
        self._nursery = nursery
        self._channel, theirs = Channel.pair()
        nursery.own(self._channel.descriptor)

        def run() -> int:
            return work(lambda message: _tell(theirs, message))

        try:
            self.child = nursery.fork(run, title=title, now=now, keep=[theirs.descriptor])
        except OSError:
            self._close()
            raise
        finally:
            theirs.close()

    @property
    def descriptor(self) -> int:
        """Readable when there is something to look at."""
        return self._channel.descriptor

    def allow(self, until: float) -> None:
        """Let it take longer."""
        self._deadline = max(self._deadline, until)

    def look(self, now: float) -> None:
        """Read what it told and see whether it ended; past the deadline it is killed."""
        if self.ended is not None:
            return
        self.messages += self._channel.receive()
        self.ended = self._nursery.reap(self.child)
        if self.ended is not None:
            self.messages += self._channel.receive()
            self._close()
        elif now >= self._deadline and not self.out_of_time:
            self.out_of_time = True
            self.child.send_group(signal.SIGKILL)

    def abandon(self) -> None:
        """Kill it; what it did stays done."""
        self.child.send_group(signal.SIGKILL)

    def _close(self) -> None:
        self._nursery.disown(self._channel.descriptor)
        self._channel.close()


def _tell(channel: Channel, message: dict[str, Any]) -> None:
    os.set_blocking(channel.descriptor, True)
    channel.send(message)
