"""Several processes that do everything there is to do to the same few jobs, in an order drawn by chance."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import text

from backends import DatabaseUnavailable, Job, JobTypeFacts, Kind, NewJob, Outcome, Queue, open_engine
from backends.tables import indexing_jobs
from tests.chaos.history import Recorder

TYPES = {"plain": JobTypeFacts(None), "laned": JobTypeFacts("program:{program_id}", 1)}
OUTCOMES = (Kind.COMPLETED, Kind.COMPLETED, Kind.COMPLETED, Kind.FAILED, Kind.SNOOZED, Kind.RELEASED)
NAMES = tuple(TYPES)
NEWEST = 60
"""Operators look at so many of the newest jobs: few enough that everybody meets everybody."""


class Actor:
    """One process: a worker, an operator and maintenance in turns. Asks again, and counts, when the database says: not now."""

    def __init__(self, url: str, folder: Path, number: int) -> None:
        self.refused: Counter[str] = Counter()
        self._name, self._folder = f"actor-{number}", folder
        self._random = Random(number)
        self._queue = Queue(open_engine(url, statement_timeout=5), random=Random(number))
        self._recorder = Recorder(folder, self._name)
        self._held: dict[str, list[Job]] = {}
        self._turn = 0
        self._verbs: tuple[Callable[[], Any], ...] = (
            self._enqueue, self._claim, self._claim, self._settle, self._settle, self._give_back, self._heartbeat, self._cancel,
            self._retry, self._prune, self._reclaim, self._queue.admit, self._queue.fold_counts,
        )

    def run(self, seconds: float) -> dict[str, int]:
        """Do something, again and again; at the end settle what is held. Returns what was refused, and why, how often."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._do(self._random.choice(self._verbs))
        while self._held:
            self._do(self._settle)
        return dict(self.refused)

    def _do(self, verb: Callable[[], Any]) -> None:
        self._turn += 1
        while True:
            try:
                verb()
            except DatabaseUnavailable as error:
                self.refused[f"{getattr(verb, '__name__', verb)}: {getattr(error.__cause__, 'orig', error)!s:.60}"] += 1
            else:
                return

    # As a program that adds jobs, and as a worker

    def _enqueue(self) -> None:
        chance = self._random
        keys = [f"{self._name}-{self._turn}-{place}" for place in range(chance.randint(1, 5))]
        for key in keys:
            self._recorder.note("enqueue", "invoke", key=key)
        jobs = [NewJob(chance.choice(NAMES), chance.randint(1, 3), priority=chance.randint(0, 2), unique_key=key) for key in keys]
        for key, job_id in zip(keys, self._queue.enqueue(jobs), strict=True):
            self._recorder.note("enqueue", "ok", job_id, key=key)

    def _claim(self) -> None:
        tag = f"{self._name}:{self._turn}"
        if claimed := self._queue.claim(tag, NAMES, self._random.randint(1, 6)):
            self._held[tag] = claimed
            for job in claimed:
                self._recorder.note("run", "started", job.id, job.lease)
                self._recorder.note("run", "returned", job.id, job.lease)

    def _settle(self) -> None:
        if self._held:
            tag = next(iter(self._held))
            kinds = [Kind.COMPLETED] * 9 if self._turn % 2 else OUTCOMES
            finished = [(job, Outcome(kinds[job.id % len(kinds)], "by chance", after=0.0)) for job in self._held[tag]]
            self._queue.settle(tag, finished)
            del self._held[tag]

    def _give_back(self) -> None:
        """As maintenance does when a worker of its own died."""
        if self._held:
            tag = next(iter(self._held))
            self._queue.release([tag], "its worker died", interrupted=True)
            del self._held[tag]

    # As maintenance

    def _heartbeat(self) -> None:
        """For everybody's tags, in no order."""
        running = text("SELECT DISTINCT locked_by FROM indexing_jobs WHERE status = 'running'")
        tags = list(self._queue.read(lambda connection: connection.execute(running).scalars().all()))
        self._random.shuffle(tags)
        self._queue.heartbeat(tags)

    def _reclaim(self) -> None:
        self._queue.reclaim_expired(60.0)

    def _prune(self) -> None:
        self._queue.prune(dict.fromkeys(("completed", "failed", "cancelled"), 0.0), batch=20)  # type: ignore[misc]

    # As an operator

    def _some_job(self) -> int:
        newest = text(f"SELECT id FROM {indexing_jobs.name} ORDER BY id DESC LIMIT {NEWEST}")
        ids = self._queue.read(lambda connection: connection.execute(newest).scalars().all())
        return int(self._random.choice(ids)) if ids else 0

    def _cancel(self) -> None:
        job_id = self._some_job()
        self._recorder.note("cancel", "invoke", job_id)
        self._queue.cancel(job_id)

    def _retry(self) -> None:
        job_id = self._some_job()
        self._recorder.note("retry", "invoke", job_id)
        self._queue.retry(job_id)
