"""Answers remembered for a moment, so that a busy client does not cost one lookup for each of its requests."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Recent(Generic[Answer]):
    """At most `most` answers, none for longer than `seconds`; for all threads of a process."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds, self._most = seconds, most
        self._answers: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, key: str) -> tuple[Answer] | None:
        """The answer, wrapped since it may be None; None when there is none that is fresh."""
        with self._lock:
            found = self._answers.get(key)
        return (found[1],) if found and time.monotonic() < found[0] else None

    def remember(self, key: str, answer: Answer, asked_at: float) -> None:
        """Keep an answer that was asked for at `asked_at` (monotonic): what changed since then may not be in it."""
        with self._lock:
            self._answers[key] = asked_at + self._seconds, answer
            self._answers.move_to_end(key)
            if len(self._answers) > self._most:
                self._answers.popitem(last=False)
