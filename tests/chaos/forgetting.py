"""What an asynchronous replica that was promoted may have forgotten: counted, and taken out of what the checker sees.

Everything else must be as if nothing had been forgotten; what is not excused here stays, and is found by the checker.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from backends import Status

from .checker import Evidence, grants
from .history import Event

AFTERLIFE = 6.0
"""Seconds after the promotion in which somebody who holds a forgotten claim must have been told so, and have ended."""


class Window(NamedTuple):
    """What one fail-over may have forgotten, in seconds of `boot_time()`.

    `since` is the last moment known to be replicated, `last` the last at which the former primary may have acknowledged
    anything, `until` the promotion.
    """

    since: float
    last: float
    until: float


@dataclass(frozen=True, slots=True)
class Losses:
    """How many acknowledged jobs, claims whose run was seen, and successes were forgotten, and for how long they lived on.

    `oldest` is how long before the end of its primary the oldest forgotten job had been acknowledged, in seconds.
    """

    acknowledged: int
    claims: int
    successes: int
    afterlife: float
    oldest: float = 0.0

    def __str__(self) -> str:
        jobs = f"{self.acknowledged} acknowledged jobs, the oldest {self.oldest:.2f} s before its primary's end"
        lived = f"the last forgotten run ended {self.afterlife:.1f} s after the promotion"
        return f"forgotten: {jobs}; {self.claims} claims; {self.successes} successes; {lived}"


def forgive(evidence: Evidence, windows: Iterable[Window]) -> tuple[Evidence, Losses]:
    """The evidence without what was forgotten of the windows, and how much that is."""
    windows = list(windows)
    jobs = [event for event in missing(evidence) if _acknowledged_in(event, windows)]
    forgotten = _forgotten_runs(evidence, windows)
    lives = [event for event in evidence.history if _run(event) in forgotten and _inside(event, windows, AFTERLIFE)]
    # Who was forgotten itself may find the attempt before it alive.
    haunts = [event for event in evidence.history if event.op == "haunt" and _inside(event, windows, AFTERLIFE)]
    gone = {id(event) for event in (*jobs, *lives, *haunts)}
    lived = [event.at - window.until for event in lives for window in windows if window.since < event.at]
    ages = [window.last - event.at for event in jobs for window in _acknowledged_in(event, windows)]
    successes = _successes(evidence, windows)
    losses = Losses(len(jobs), len(forgotten), successes, max([0.0, *_latest(lived)]), max([0.0, *ages]))
    return replace(evidence, history=[event for event in evidence.history if id(event) not in gone]), losses


def _latest(lived: list[float]) -> list[float]:
    return [each for each in lived if each <= AFTERLIFE]


def missing(evidence: Evidence) -> list[Event]:
    """The acknowledgements of jobs that are not there."""
    kept = {(row.job, row.key) for row in evidence.rows}
    answered = [event for event in evidence.history if event.op == "enqueue" and event.what == "ok"]
    return [event for event in answered if (event.job, event.key) not in kept]


def _run(event: Event) -> tuple[int, int, str] | None:
    return (event.job, event.lease, event.tag) if event.op == "run" else None


def _forgotten_runs(evidence: Evidence, windows: list[Window]) -> set[tuple[int, int, str] | None]:
    """Started under a claim that the database does not know; a worker may start the later ones of its batch a little later."""
    granted = grants(evidence)
    starts = [event for event in evidence.history if event.op == "run" and event.what == "started"]
    return {_run(event) for event in starts if _run(event) not in granted and _inside(event, windows, AFTERLIFE)}


def _successes(evidence: Evidence, windows: list[Window]) -> int:
    recorded = {(change.job, change.lease, change.tag) for change in evidence.changes if change.became == Status.COMPLETED}
    granted = grants(evidence)
    returned = [event for event in evidence.history if event.op == "run" and event.what == "returned"]
    known = [event for event in returned if _inside(event, windows) and _run(event) in granted]
    return sum(_run(event) not in recorded for event in known)


def _acknowledged_in(event: Event, windows: list[Window]) -> list[Window]:
    return [window for window in windows if window.since < event.at <= window.last]


def _inside(event: Event, windows: list[Window], longer: float = 0.0) -> bool:
    return any(window.since < event.at <= window.until + longer for window in windows)
