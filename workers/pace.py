"""How many jobs to claim at once: pure functions of what the last batch was like."""

from __future__ import annotations

from collections.abc import Sequence

from backends import Job

MOST_AT_ONCE = 512
WORK_PER_CLAIM = 0.05
"""Seconds of work that one claim should hold, so that an urgent job overtakes soon."""


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
