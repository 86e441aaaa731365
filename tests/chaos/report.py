"""What a soak tells when it is over, and whether enough happened in it to tell anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .checker import Evidence
from .faults import KILLS, Deed
from .recovery import recoveries

OUTAGES = ("database crashes", "database restarts")

A_MINUTE = {"kills": 10.0, "database outages": 20 / 30, "jobs that were completed": 60.0}
"""The least that shows anything: half an hour with 300 kills and 20 outages, and somebody at work all the time."""


def told(done: Sequence[Deed], evidence: Evidence) -> str:
    """Some lines: how often each fault was done, what became of the jobs, and how long it took to take them back."""
    counts = _counts(done, evidence)
    statuses = Counter(row.status for row in evidence.rows)
    runs = sum(event.op == "run" and event.what == "started" for event in evidence.history)
    haunts = Counter(event.what for event in evidence.history if event.op == "haunt")
    ends = Counter(attempt.outcome for attempt in evidence.attempts)
    return "\n".join([
        f"{counts['kills']} kills, {counts['database outages']} database outages",
        "  faults: " + how_often(done),
        f"  jobs: {len(evidence.rows)} {dict(statuses)}, runs: {runs}, attempts: {dict(ends)},"
        f" rows of handlers: {len(evidence.effects)}",
        f"  in the name of attempts that were over: {haunts['invoke']} writes, {haunts['failed']} refused,"
        f" {haunts['ok']} accepted; files inspected by: {evidence.inspection.by or 'nobody'}",
        *(f"  {outcome}: from the last sign of life until it was taken back: {seconds}"
          for outcome, seconds in recoveries(evidence).items()),
    ])


def how_often(done: Sequence[Deed]) -> str:
    """Each fault and how often it was done."""
    return ", ".join(f"{what} {times}" for what, times in sorted(Counter(deed.what for deed in done).items()))


def too_little(minutes: float, done: Sequence[Deed], evidence: Evidence) -> list[str]:
    """What happened less often than so many minutes ask for, each in a sentence; a part of an event is not asked for."""
    counts = _counts(done, evidence)
    return [
        f"too little happened to show anything: {counts[what]} {what}, at least {int(minutes * rate)} are asked for"
        for what, rate in A_MINUTE.items() if counts[what] < int(minutes * rate)
    ]


def _counts(done: Sequence[Deed], evidence: Evidence) -> dict[str, int]:
    return {
        "kills": sum(deed.what in KILLS for deed in done),
        "database outages": sum(deed.what in OUTAGES for deed in done),
        "jobs that were completed": sum(row.status == "completed" for row in evidence.rows),
    }
