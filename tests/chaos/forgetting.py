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
    """From the last moment known to be replicated to the promotion, in seconds of `boot_time()`."""

    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Losses:
    """How many acknowledged jobs, claims whose run was seen, and successes were forgotten, and for how long they lived on."""

    acknowledged: int
    claims: int
    successes: int
    afterlife: float

    def __str__(self) -> str:
        lived = f"the last forgotten run ended {self.afterlife:.1f} s after the promotion"
        return f"{self.acknowledged} acknowledged jobs, {self.claims} claims, {self.successes} successes forgotten; {lived}"


def forgive(evidence: Evidence, windows: Iterable[Window]) -> tuple[Evidence, Losses]:
    """The evidence without what was forgotten of the windows, and how much that is."""
    windows = list(windows)
    jobs = [event for event in _missing(evidence) if _inside(event, windows)]
    forgotten = _forgotten_runs(evidence, windows)
    lives = [event for event in evidence.history if _run(event) in forgotten and _inside(event, windows, AFTERLIFE)]
    gone = {id(event) for event in (*jobs, *lives)}
    lived = [event.at - window.until for event in lives for window in windows if window.since < event.at]
    losses = Losses(len(jobs), len(forgotten), _successes(evidence, windows), max([0.0, *_latest(lived)]))
    return replace(evidence, history=[event for event in evidence.history if id(event) not in gone]), losses


def _latest(lived: list[float]) -> list[float]:
    return [each for each in lived if each <= AFTERLIFE]


def _missing(evidence: Evidence) -> list[Event]:
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


def _inside(event: Event, windows: list[Window], longer: float = 0.0) -> bool:
    return any(window.since < event.at <= window.until + longer for window in windows)
