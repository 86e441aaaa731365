"""How long it took to take back what an attempt held that was cut off: from its last sign of life to the end of its lease."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator

from backends import Status
from tests.supervisor.scene import TIMINGS
from workers import boot_time

from .checker import Evidence, Violation
from .faults import Deed

CUT_OFF = ("crashed", "interrupted")
LONGEST = TIMINGS["lock_timeout"] + 6.0
"""Seconds, as promised for a lost host or supervisor (G9), outages of the database not counted."""


class Distribution(list[float]):
    """Seconds; printed as number, median, 99th percentile and maximum."""

    def __str__(self) -> str:
        ordered = sorted(self)
        at = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99)]
        return f"n {len(ordered)}, median {at[0]:.2f} s, p99 {at[1]:.2f} s, max {ordered[-1]:.2f} s"


def recoveries(evidence: Evidence) -> dict[str, Distribution]:
    """By how the attempt ended: the times of all that were cut off. The wall clock must not have been stepped meanwhile."""
    found: dict[str, Distribution] = defaultdict(Distribution)
    for _, outcome, last, taken_back in _cut_off(evidence):
        found[outcome].append(taken_back - last)
    return dict(found)


def too_late(evidence: Evidence, deeds: Iterable[Deed]) -> Iterator[Violation]:
    """What was taken back later than promised; time in which somebody was stopped or something was taken away is not counted."""
    lasting = list(deeds)
    for run, outcome, last, taken_back in _cut_off(evidence):
        away = sum(max(0.0, min(deed.ended, taken_back) - max(deed.began, last)) for deed in lasting)
        if (took := taken_back - last - away) > LONGEST:
            yield Violation("G9", f"{run} ({outcome}) was taken back {took:.2f} s after its last sign of life, without outages")


def _cut_off(evidence: Evidence) -> Iterator[tuple[str, str, float, float]]:
    """Attempts that were cut off: which, how they ended, their last sign of life and when they were taken back, since boot."""
    since_boot = time.time() - boot_time()
    last = {(event.job, event.lease): event.at for event in evidence.history if event.op == "run"}
    outcomes = {(attempt.job, attempt.lease): attempt.outcome for attempt in evidence.attempts}
    for change in evidence.changes:
        run = change.job, change.lease
        if change.was == Status.RUNNING and run in last and outcomes.get(run) in CUT_OFF:
            at = max(last[run], change.at - since_boot)
            yield f"job {change.job} under lease {change.lease}", outcomes[run], last[run], at
