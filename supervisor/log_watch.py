"""Says that SQLite's write-ahead log stays large: somebody reads an old state, and until they end it only grows."""

from __future__ import annotations

from backends import LARGE_LOG

from .events import LogPinned, tell
from .limits import NEVER

PATIENCE = 5.0
"""Seconds for which it may be large: writers and other checkpoints end sooner."""


class LogWatch:
    """Knows since when the log has been large, and warns once, then whenever it has doubled."""

    def __init__(self) -> None:
        self._since, self._told = NEVER, 0

    def look(self, size: int, now: float) -> None:
        """Take the size after a checkpoint, in bytes; `now` is seconds of any steady clock."""
        if size <= LARGE_LOG:
            self._since, self._told = NEVER, 0
            return
        self._since = min(self._since, now)
        if now - self._since >= PATIENCE and size >= 2 * self._told:
            self._told = size
            tell(LogPinned(size))
