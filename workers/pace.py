"""How many jobs to claim at once, and how soon to ask again a database that was away: pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from backends import Job

MOST_AT_ONCE = 512
WORK_PER_CLAIM = 0.05
"""Seconds of work that one claim should hold, so that an urgent job overtakes soon."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 4.0
"""Seconds. The longest leaves two for connecting, of the 6 after an outage within which all workers claim again."""


def pause(failures: int, lock_timeout: float, chance: float) -> float:
    """Seconds until a database that failed so often in a row is asked again: twice as long each time, and half of it by chance.

    `chance` is from 0 to 1. Never so long that the worker would be taken for dead.
    """
    longest = min(LONGEST_PAUSE, lock_timeout / 6)
    return min(longest, FIRST_PAUSE * 2.0 ** min(failures - 1, 10)) * (1 + chance) / 2


def next_size(size: int, ran: int, seconds: float) -> int:
    """The next claim's size, a power of two: grows fourfold while jobs are short, shrinks to what fits `WORK_PER_CLAIM`."""
    if ran == 0:
        return size
    fitting = int(WORK_PER_CLAIM * ran / max(seconds, 1e-9))
    return 1 << max(1, min(fitting, size * 4, MOST_AT_ONCE)).bit_length() - 1


def to_keep(claimed: Sequence[Job]) -> int:
    """How many of a claim's jobs, from the front, may be held together.

    A job with a lane, and one that was ever interrupted or crashed, is held alone.
    """
    for at, job in enumerate(claimed):
        if job.lane is not None or job.interruptions or job.retry_count:
            return max(at, 1)
    return len(claimed)
