"""Hints that there may be new work, from a database that may be away; a missed one costs one `poll_interval`."""

from __future__ import annotations

import contextlib

from sqlalchemy import Engine

from backends import Watch, watch
from workers import boot_time

TRY_AGAIN = 1.0
"""Seconds after which a watch that broke is opened again."""


class Hints:
    """A `Watch` that heals."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watch: Watch | None = None
        self._try_at = 0.0

    @property
    def descriptors(self) -> list[int]:
        """Readable when there may be a hint."""
        descriptor = self._watch.fileno() if self._watch else None
        return [] if descriptor is None else [descriptor]

    @property
    def interval(self) -> float:
        """How long to wait between two looks, in seconds."""
        return self._watch.interval if self._watch else TRY_AGAIN

    def take(self) -> int:
        """About how many jobs were added since the last look. After an interruption, one: nobody knows."""
        if self._watch is None:
            return self._open()
        # Whatever a broken connection raises, driver errors included, only costs hints.
        try:
            return self._watch.poll()
        except Exception:
            self._close()
            return 0

    def _open(self) -> int:
        if boot_time() < self._try_at:
            return 0
        self._try_at = boot_time() + TRY_AGAIN
        try:
            self._watch = watch(self._engine)
        except Exception:
            return 0
        return 1

    def _close(self) -> None:
        if self._watch is not None:
            with contextlib.suppress(Exception):
                self._watch.close()
        self._watch = None
