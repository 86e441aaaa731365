"""A thread's dealings with a database that may be away: try, say so once, come back later and later."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from backends import DATABASE_ERRORS, DatabaseUnavailable, Sums
from workers import boot_time

from .events import DatabaseBack, DatabaseLost, tell

CALM = 1.0
"""Seconds without a failure before it is said to be back: with a full disk, reading goes well and writing does not."""


class Outages:
    """Remembers since when the database has been away, and when it is worth asking again; `sums` counts every failure."""

    def __init__(self, seen_by: str, longest_pause: float, random: Random, sums: Sums) -> None:
        self._seen_by, self._longest_pause, self._random, self._sums = seen_by, longest_pause, random, sums
        self._since: float | None = None
        self._failed_at = self._pause = 0.0
        self.ask_again_at = 0.0

    def ask(self, call: Callable[[], None]) -> bool:
        """Make a call that speaks to the database; False when it is away, which is remembered and logged once."""
        try:
            call()
        except DatabaseUnavailable as error:
            self._gone(str(error))
            return False
        self._back()
        return True

    def _gone(self, reason: str) -> None:
        now = self._failed_at = boot_time()
        self._sums.add(DATABASE_ERRORS, label=self._seen_by)
        if self._since is None:
            self._since = now
            tell(DatabaseLost(self._seen_by, reason))
        self._pause = min(self._longest_pause, max(0.1, 2 * self._pause))
        self.ask_again_at = now + self._random.uniform(self._pause / 2, self._pause)

    def _back(self) -> None:
        self._pause = self.ask_again_at = 0.0
        if self._since is not None and boot_time() >= self._failed_at + CALM:
            tell(DatabaseBack(self._seen_by, round(boot_time() - self._since, 3)))
            self._since = None
