"""How long it took to take back what an attempt held that was cut off: from its last sign of life to the end of its lease."""

from __future__ import annotations

import time
from collections import defaultdict

from backends import Status
from workers import boot_time

from .checker import Evidence

CUT_OFF = ("crashed", "interrupted")


class Distribution(list[float]):
    """Seconds; printed as number, median, 99th percentile and maximum."""

    def __str__(self) -> str:
        ordered = sorted(self)
        at = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99)]
        return f"n {len(ordered)}, median {at[0]:.2f} s, p99 {at[1]:.2f} s, max {ordered[-1]:.2f} s"


def recoveries(evidence: Evidence) -> dict[str, Distribution]:
    """By how the attempt ended: the times of all that were cut off. The wall clock must not have been stepped meanwhile."""
    since_boot = time.time() - boot_time()
    last = {(event.job, event.lease): event.at for event in evidence.history if event.op == "run"}
    outcomes = {(attempt.job, attempt.lease): attempt.outcome for attempt in evidence.attempts}
    found: dict[str, Distribution] = defaultdict(Distribution)
    for change in evidence.changes:
        run = change.job, change.lease
        if change.was == Status.RUNNING and run in last and outcomes.get(run) in CUT_OFF:
            found[outcomes[run]].append(max(0.0, change.at - since_boot - last[run]))
    return dict(found)
