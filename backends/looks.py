"""How far a claim looks: at all ready jobs, or for a while only at those created since the oldest that it found there.

While somebody keeps a transaction open, Postgres cleans nothing up, and a look at all ready jobs reads past each that was done
since then. Nothing but the time that it takes tells of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime

from .job import Job

PER_JOB = 0.0002
"""Seconds that each job settled or claimed may take: what is left of a look's time is its cost."""

DEAR = 0.02
"""Seconds that a whole look must cost more than two near ones before near ones take its place."""

WATCHED = 5
"""Looks of each kind of which the cheapest tells what they cost, so that a moment's load tells nothing."""

PAUSE, LONGEST_PAUSE = 20.0, 5.0
"""Whole looks are so many times what they cost apart, but at most so many seconds: so long a job may be overlooked."""


class Looks:
    """What one process's claims cost. A near look overlooks jobs that became ready again; a whole look soon finds them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._whole: deque[float] = deque(maxlen=WATCHED)
        self._near: deque[float] = deque(maxlen=WATCHED)
        self._oldest: datetime | None = None
        self._whole_due = 0.0
        self._finds = False

    def claim(self, ask: Callable[[datetime | None], list[Job]]) -> list[Job]:
        """Ask once, and at all ready jobs when a near look finds nothing where the last whole look found something."""
        since = self._since()
        claimed = self._timed(ask, since, 0)
        return self._timed(ask, None, 0) if since and not claimed and self._finds else claimed

    def claim_once(self, ask: Callable[[datetime | None], list[Job]], settled: int) -> list[Job]:
        """Ask, in a statement that settles so many jobs too, for jobs created since the time that it is given; None: for all."""
        return self._timed(ask, self._since(), settled)

    def _since(self) -> datetime | None:
        return self._oldest if self._clock() < self._whole_due else None

    def _timed(self, ask: Callable[[datetime | None], list[Job]], since: datetime | None, settled: int) -> list[Job]:
        began = self._clock()
        claimed = ask(since)
        cost = max(0.0, self._clock() - began - PER_JOB * (settled + len(claimed)))
        if since:
            self._near.append(cost)
        else:
            self._looked_at_all(cost, claimed)
        return claimed

    def _looked_at_all(self, cost: float, claimed: list[Job]) -> None:
        self._finds = bool(claimed)
        self._oldest = min((job.created_at for job in claimed), default=self._oldest)
        self._whole.append(cost)
        whole, near = min(self._whole), min(self._near, default=0.0)
        is_dear = len(self._whole) == WATCHED and whole - 2 * near > DEAR
        self._whole_due = self._clock() + min(PAUSE * (whole - near), LONGEST_PAUSE) if is_dear else 0.0
