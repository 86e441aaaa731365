"""Sums that only grow, for `/metrics`: counted in memory by whoever sees things happen, added to the database now and then.

A sum is known by what is counted, the job type it is about, and a label: an attempt's outcome, the reason of a reclaim, or
the bucket of a histogram.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.engine import Connection

from .dialects import insert_for
from .tables import statistics as table

BUCKETS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
"""Upper bounds of the histograms, in seconds; one more bucket takes what is longer."""

BUCKET_LABELS = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")
TOTAL_SECONDS = "seconds"
"""The label under which a histogram keeps the sum of what was observed."""

ATTEMPTS = "attempts"
DURATIONS = "durations"
WAITS = "waits"
RECLAIMED = "reclaimed"
RESTARTS = "restarts"
DATABASE_ERRORS = "database errors"


class Sum(NamedTuple):
    """What is summed up: one row of the table."""

    name: str
    job_type: str = ""
    label: str = ""


class Sums:
    """What was counted and is not in the database yet. Several threads may use it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._totals: dict[Sum, float] = {}

    def __bool__(self) -> bool:
        return bool(self._totals)

    def add(self, name: str, job_type: str = "", label: str = "", amount: float = 1.0) -> None:
        """Count one more, or several."""
        key = Sum(name, job_type, label)
        with self._lock:
            self._totals[key] = self._totals.get(key, 0.0) + amount

    def observe(self, name: str, job_type: str, seconds: Sequence[float]) -> None:
        """Put observations into a histogram, many at a time: a short job takes hardly longer than a lock."""
        found = [0] * len(BUCKET_LABELS)
        for each in seconds:
            found[bisect_left(BUCKETS, each)] += 1
        for label, number in zip(BUCKET_LABELS, found, strict=True):
            if number:
                self.add(name, job_type, label, number)
        self.add(name, job_type, TOTAL_SECONDS, sum(seconds))

    def take(self) -> dict[Sum, float]:
        """Everything so far; whoever takes it writes it down, or puts it back."""
        with self._lock:
            taken, self._totals = self._totals, {}
            return taken

    def put_back(self, taken: Mapping[Sum, float]) -> None:
        """What could not be written down after all."""
        for key, amount in taken.items():
            self.add(*key, amount)


def record(connection: Connection, additions: Mapping[Sum, float]) -> None:
    """Add to the sums, in one order for all, so that nobody who records waits for another who waits for them."""
    rows = [{**key._asdict(), "total": amount} for key, amount in sorted(additions.items())]
    if rows:
        addition = insert_for(connection, table)
        grown = {"total": table.c.total + addition.excluded.total}
        connection.execute(addition.on_conflict_do_update(index_elements=["name", "job_type", "label"], set_=grown), rows)


def recorded(connection: Connection) -> dict[Sum, float]:
    """The sums as they are in the database."""
    rows = connection.execute(select(table.c.name, table.c.job_type, table.c.label, table.c.total))
    return {Sum(row.name, row.job_type, row.label): row.total for row in rows}
