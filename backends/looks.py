"""How far a claim looks: at all ready jobs, or for a while only at those created after the last that it found there.

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

BELIEVED = 60.0
"""Seconds after the last near look for which it is believed what they cost: it depends on how old the oldest job was."""

PAUSE, LONGEST_PAUSE = 20.0, 5.0
"""Whole looks are so many times what they cost apart, but at most so many seconds: so long a job may be overlooked."""


Ask = Callable[[datetime | None], list[Job]]
"""Claims among the jobs created at that time or later, None: among all; returns them in the queue's order."""


class Looks:
    """What one process's claims cost. A near look overlooks jobs that became ready again; a whole look soon finds them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._whole: deque[float] = deque(maxlen=WATCHED)
        self._near: deque[float] = deque(maxlen=WATCHED)
        self._near_at = 0.0
        self._whole_due = 0.0
        self._begin: datetime | None = None
        self._finds = False

    def claim(self, ask: Ask, limit: int) -> list[Job]:
        """Ask once, and at all ready jobs when a near look finds nothing where the last whole look found something."""
        since = self._since()
        claimed = self._timed(ask, limit, 0, since)
        is_made_up_for = since is not None and not claimed and self._finds
        return self._timed(ask, limit, 0, None) if is_made_up_for else claimed

    def claim_once(self, ask: Ask, limit: int, settled: int) -> list[Job]:
        """Ask for up to `limit` jobs, in a statement that settles so many too."""
        return self._timed(ask, limit, settled, self._since())

    def _since(self) -> datetime | None:
        return self._begin if self._clock() < self._whole_due else None

    def _timed(self, ask: Ask, limit: int, settled: int, since: datetime | None) -> list[Job]:
        began = self._clock()
        claimed = ask(since)
        cost = max(0.0, self._clock() - began - PER_JOB * (settled + len(claimed)))
        if since is None:
            self._looked_at_all(cost, claimed, len(claimed) == limit)
        else:
            self._near.append(cost)
            self._near_at = self._clock()
        return claimed

    def _looked_at_all(self, cost: float, claimed: list[Job], may_have_left_some: bool) -> None:
        self._finds = bool(claimed)
        if may_have_left_some:
            self._begin = claimed[-1].created_at
        elif claimed:
            self._begin = max(self._begin or claimed[0].created_at, *(job.created_at for job in claimed))
        self._whole.append(cost)
        if self._clock() > self._near_at + BELIEVED:
            self._near.clear()
        whole, near = min(self._whole), min(self._near, default=0.0)
        is_dear = len(self._whole) == WATCHED and whole - 2 * near > DEAR
        self._whole_due = self._clock() + min(PAUSE * (whole - near), LONGEST_PAUSE) if is_dear else 0.0
