"""How much runs again after one kill: at the most the jobs of one claim, each of them once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from backends import Kind, Status
from tests.chaos.checker import Attempt
from tests.chaos.history import Event
from tests.chaos.witness import Change

PLANNED = (Kind.FAILED, Kind.SNOOZED)
"""Ends of an attempt after which its job is meant to run again."""


def runs_too_many(history: Iterable[Event], attempts: Iterable[Attempt], changes: Iterable[Change], killed: bool) -> list[str]:
    """What ran again and should not have; without a kill that is everything.

    A claim is one job, or several short ones that are settled together: those that were done by then run again, too.
    """
    cut = _cut_short(history, {(each.job, each.lease) for each in attempts if each.outcome in PLANNED})
    tags = {(each.job, each.lease): each.tag for each in changes if each.became == Status.RUNNING}
    claims = {tags.get((job, lease)) for job, leases in cut.items() for lease in leases}
    found = [f"job {job} ran again after each of its leases {leases}" for job, leases in cut.items() if len(leases) > killed]
    if len(claims) > killed:
        found.append(f"jobs of {len(claims)} claims ran again: {dict(cut)}")
    return [f"G4 broken: {what}, {'after one kill' if killed else 'and nobody was killed'}" for what in found]


def _cut_short(history: Iterable[Event], planned: set[tuple[int, int]]) -> dict[int, list[int]]:
    """By job the leases under which it was started, and that another start followed without that having been planned."""
    starts = sorted((event.job, event.lease) for event in history if (event.op, event.what) == ("run", "started"))
    cut = defaultdict[int, list[int]](list)
    for (job, lease), (following, _) in pairwise(starts):
        if job == following and (job, lease) not in planned:
            cut[job].append(lease)
    return cut
