"""How far a claim looks: at all ready jobs, or for a while only at those that came after what it found there.

While somebody keeps a transaction open, Postgres cleans nothing up, and a look at all ready jobs reads past each that was done
since then. Nothing but the time that it takes tells of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from .job import Job

PER_JOB = 0.0002
"""Seconds that each job settled or claimed may take: what is left of a look's time is its cost."""

DEAR = 0.02
"""Seconds that a whole look must cost more than two near ones before near ones take its place."""

WATCHED = 5
"""Looks of each kind of which the cheapest tells what they cost, so that a moment's load tells nothing."""

BELIEVED = 60.0
"""Seconds after the last near look for which it is believed what they cost: it depends on where they begin."""

PAUSE, LONGEST_PAUSE = 20.0, 5.0
"""Between whole looks lie so many times the seconds that a near one saves, but at most so many: so long a job is overlooked."""

LOWEST_PRIORITY = -(2**31)


class Near(NamedTuple):
    """A near look: at jobs of this priority or a higher one that were created at this time or later."""

    priority: int
    since: datetime


Ask = Callable[[Near | None], list[Job]]
"""Claims among those jobs, None: among all; returns them in the queue's order."""


class Looks:
    """What one process's claims cost. A near look overlooks older jobs that became ready since; a whole look soon finds them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._whole: deque[float] = deque(maxlen=WATCHED)
        self._near: deque[float] = deque(maxlen=WATCHED)
        self._near_at = 0.0
        self._whole_due = 0.0
        self._begin: Near | None = None
        self._finds = False

    def claim(self, ask: Ask, limit: int, settled: int = 0, at_all: bool = False) -> list[Job]:
        """Ask for up to `limit` jobs, `at_all`: in a whole look. `settled` says how many jobs the same statement settles.

        A near look that finds nothing is made up for at once where the last whole look found something, unless it settled.
        """
        near = None if at_all or self._clock() >= self._whole_due else self._begin
        claimed = self._timed(ask, limit, settled, near)
        is_made_up_for = near is not None and not claimed and not settled and self._finds
        return self._timed(ask, limit, 0, None) if is_made_up_for else claimed

    def _timed(self, ask: Ask, limit: int, settled: int, near: Near | None) -> list[Job]:
        began = self._clock()
        try:
            claimed = ask(near)
        except BaseException:
            self._whole_due = 0.0
            raise
        now = self._clock()
        cost = max(0.0, now - began - PER_JOB * (settled + len(claimed)))
        if near is None:
            self._begin_behind(claimed, len(claimed) == limit)
            self._whole.append(cost)
            if now > self._near_at + BELIEVED:
                self._near.clear()
            self._whole_due = now + self._pause()
        else:
            self._near.append(cost)
            self._near_at = now
            if not self._pause():
                self._whole_due = 0.0
        return claimed

    def _begin_behind(self, claimed: list[Job], may_have_left_some: bool) -> None:
        """After a whole look: begin behind the last job that it took, or, when it left none, at the newest that was ever taken.

        Never in the future, which anybody may write into `created_at`.
        """
        self._finds = bool(claimed)
        if may_have_left_some:
            begin = Near(claimed[-1].priority, claimed[-1].created_at)
        elif times := [job.created_at for job in claimed] + ([self._begin.since] if self._begin else []):
            begin = Near(LOWEST_PRIORITY, max(times))
        else:
            return
        taken_at = claimed[-1].started_at if claimed else None
        self._begin = begin._replace(since=min(begin.since, taken_at)) if taken_at else begin

    def _pause(self) -> float:
        """Seconds between whole looks; 0 while near ones are not worth it."""
        whole = min(self._whole)
        near = min(self._near) if len(self._near) == WATCHED else 0.0
        is_dear = len(self._whole) == WATCHED and whole - 2 * near > DEAR
        return min(PAUSE * (whole - near), LONGEST_PAUSE) if is_dear else 0.0
