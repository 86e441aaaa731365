"""What maintenance counts for `/metrics`: jobs that were taken back, and workers that had to be replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backends import ATTEMPTS, RECLAIMED, RESTARTS, Queue, Settled, Sums

RECORD_EVERY = 10.0
"""Seconds between two times of writing down; a maintenance that is killed takes with it what it counted since the last one."""


class Tallies:
    """The counts of one maintenance. `sums` may be added to by its other thread."""

    def __init__(self, queue: Queue) -> None:
        self.sums = Sums()
        self._queue = queue
        self._restarts: dict[str, int] = {}

    def reclaimed(self, settled: Sequence[Settled]) -> None:
        """Jobs were taken back. What was never started is no attempt."""
        for each in settled:
            self.sums.add(RECLAIMED, label=each.kind)
            if each.was_started:
                self.sums.add(ATTEMPTS, each.job_type, each.kind)

    def hear(self, status: Mapping[str, Any]) -> None:
        """The supervisor said how it is. What happened before its first word is not known to this maintenance."""
        for worker in status.get("workers", ()):
            name, restarts = worker["process_id"], worker["restarts"]
            more = restarts - self._restarts.get(name, restarts)
            if more > 0:
                self.sums.add(RESTARTS, amount=more)
            self._restarts[name] = restarts

    def record(self) -> None:
        """Write down everything; it is kept when that fails. Raises `DatabaseUnavailable`."""
        taken = self.sums.take()
        try:
            if taken:
                self._queue.record(taken)
        except BaseException:
            self.sums.put_back(taken)
            raise
