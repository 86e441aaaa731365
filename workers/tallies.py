"""What a worker counts for `/metrics`, and when it writes that down: at most every ten seconds, and never while idle."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from backends import ATTEMPTS, DATABASE_ERRORS, DURATIONS, WAITS, DatabaseUnavailable, Job, Outcome, Sum, Sums

FLUSH_EVERY = 10.0
"""Seconds between two times of writing down; a worker that is killed takes with it what it counted since the last one."""

SEEN_BY = "worker"

log = structlog.get_logger("jobqueue.worker")


class Tallies:
    """The counts of one worker. `write` adds sums to the database; it is called in a thread that lives only for that.

    An attempt counts when its outcome is settled: one whose lease was lost is counted by whoever took the job back. A job's wait
    counts once, when it is claimed for the first time.
    """

    def __init__(self, write: Callable[[Mapping[Sum, float]], None], flush_every: float = FLUSH_EVERY) -> None:
        self._write, self._flush_every = write, flush_every
        self._sums = Sums()
        self._seconds: dict[int, float] = {}
        self._writing, self._waking = threading.Lock(), threading.Lock()
        self._alarm: threading.Timer | None = None
        self._written_at = -flush_every
        self._reachable, self._leaving = True, False

    def claimed(self, jobs: Sequence[Job]) -> None:
        """Jobs came into the worker's hands."""
        waits = defaultdict[str, list[float]](list)
        for job in jobs:
            if job.lease == 1:
                waits[job.job_type].append(job.waited)
        for job_type, seconds in waits.items():
            self._sums.observe(WAITS, job_type, seconds)

    def ran(self, job: Job, seconds: float) -> None:
        """An attempt is over, and not settled yet."""
        self._seconds[job.id] = seconds

    def settled(self, finished: Sequence[tuple[Job, Outcome]], lost: Collection[Job]) -> None:
        """The database has these outcomes, but for those whose lease was lost."""
        self._reachable = True
        gone = {job.id for job in lost}
        durations = defaultdict[tuple[str, str], list[float]](list)
        for job, outcome in finished:
            seconds = self._seconds.pop(job.id, None)
            if seconds is not None and job.id not in gone:
                durations[job.job_type, outcome.kind.value].append(seconds)
        for (job_type, kind), took in durations.items():
            self._sums.add(ATTEMPTS, job_type, kind, len(took))
            self._sums.observe(DURATIONS, job_type, took)
        self._wake_later()

    def given_up(self, finished: Sequence[tuple[Job, Outcome]]) -> None:
        """These outcomes will never be settled; whoever takes the jobs back counts them."""
        for job, _ in finished:
            self._seconds.pop(job.id, None)

    def database_failed(self) -> None:
        """A call was not answered."""
        self._reachable = False
        self._sums.add(DATABASE_ERRORS, label=SEEN_BY)
        self._wake_later()

    def leave(self) -> None:
        """Write down what is left, unless the database was away a moment ago: nobody should wait for figures."""
        with self._waking:
            if self._alarm is not None:
                self._alarm.cancel()
            self._leaving = True
        if self._reachable:
            self._flush()

    def _wake_later(self) -> None:
        """Have what was counted written down when it is time."""
        with self._waking:
            if self._alarm is None and self._sums and not self._leaving:
                due_in = max(0.0, self._written_at + self._flush_every - time.monotonic())
                alarm = threading.Timer(due_in, self._on_time)
                alarm.daemon = True
                with contextlib.suppress(RuntimeError):  # the system has no thread left; the next count asks again
                    alarm.start()
                    self._alarm = alarm

    def _on_time(self) -> None:
        self._flush()
        with self._waking:
            self._alarm = None
        self._wake_later()

    def _flush(self) -> None:
        with self._writing:
            taken = self._sums.take()
            try:
                if taken:
                    self._write(taken)
            except Exception as error:
                self._sums.put_back(taken)
                if not isinstance(error, DatabaseUnavailable):  # those are told by whoever works with the jobs
                    log.exception("statistics.not_written")
            self._written_at = time.monotonic()
