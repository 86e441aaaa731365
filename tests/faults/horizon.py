"""Row D8 of the fault matrix: somebody's open transaction keeps Postgres from cleaning up, while jobs come and are done."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psycopg

from backends import Job, JobTypeFacts, Kind, NewJob, Outcome, Queue, open_engine, upgrade
from tests.backends.scene import in_processes
from tests.chaos import witness
from tests.chaos.checker import check, gather
from tests.chaos.history import Recorder
from tests.postgres import PrivatePostgres
from workers.pace import next_size

from .asked import Asked
from .workload import drain

SLOWER = 10.0
"""How many times as long as before a claim may take while the transaction is open, in its 99th percentile."""

FEWEST = 0.9
"""The part of the 500 jobs added in each second that must be done in it, over each phase."""

BACK = 2.0
"""How many times as long as before a claim may take, in the median, when the transaction's end has been got over."""

WITHIN = 60.0
"""Seconds after the transaction's end in which that must have happened; for shorter phases, half of them."""

BETWEEN_LOOKS = 1.0
TOLD = 5.0
"""Seconds that maintenance looks apart, and by which the transaction's age may be told too low at most."""

MOST_PENDING = 2000
DONE = Outcome(Kind.COMPLETED)


class Phases(NamedTuple):
    """Seconds of each: with nobody, with a REPEATABLE READ transaction held open, and after its end."""

    before: float
    held: float
    after: float

    def of(self, second: float) -> str:
        """Which of them it is so many seconds after the beginning."""
        return "before" if second < self.before else "held" if second < self.before + self.held else "after"


class Place(NamedTuple):
    """Where those who take part find the database, and where they write their histories."""

    url: str
    folder: str
    phases: Phases

    def seconds(self) -> float:
        """How long it all lasts."""
        return sum(self.phases)


def horizon(asked: Asked) -> str:
    """D8: 500 jobs a second, with nobody, with a transaction held open for so many minutes, and after it ended."""
    minutes = 60 * asked.minutes
    server = PrivatePostgres("fsync = on\nfull_page_writes = on").start()
    try:
        with tempfile.TemporaryDirectory(prefix="jobqueue-faults-", dir="/tmp") as folder:
            return _judged(Place(server.url(), folder, Phases(min(90.0, minutes / 3), minutes, min(90.0, minutes / 3))))
    finally:
        server.remove()


def _judged(place: Place) -> str:
    engine = open_engine(place.url)
    upgrade(engine)
    witness.install(engine)
    queue = Queue(engine)
    queue.register({"quick": JobTypeFacts(None)}, "horizon")
    within = 2 * place.seconds() + 60
    _, turns, ages, _ = in_processes(engine, lambda number: _PARTS[number](place), range(len(_PARTS)), within)
    recorder = Recorder(Path(place.folder), "later")
    drain(queue, recorder.note)
    recorder.close()
    violations = check(gather(engine, Path(place.folder)))
    engine.dispose()
    assert not violations, violations[:20]
    return "\n".join([*_speed(turns, place.phases), _age(ages, place.phases)])


def _speed(turns: list[tuple[float, float, int]], phases: Phases) -> list[str]:
    """Each turn: the second it began at, the milliseconds that settling and claiming took, the jobs that were claimed."""
    took, jobs, lines = defaultdict[str, list[float]](list), defaultdict[str, int](int), []
    for second, milliseconds, claimed in turns:
        took[phases.of(second)].append(milliseconds)
        jobs[phases.of(second)] += claimed
    for name, seconds in phases._asdict().items():
        rate, middle, high = jobs[name] / seconds, median(took[name]), _p99(took[name])
        lines.append(f"{name}: {rate:.0f} jobs/s, a settle-and-claim: median {middle:.2f} ms, p99 {high:.2f} ms")
    assert all(jobs[name] >= FEWEST * 500 * seconds for name, seconds in phases._asdict().items()), lines
    assert _p99(took["held"]) <= SLOWER * _p99(took["before"]), lines
    got_over = phases.before + phases.held + min(WITHIN, phases.after / 2)
    back = median(milliseconds for second, milliseconds, _ in turns if second >= got_over)
    assert back <= BACK * median(took["before"]), (back, lines)
    return [*lines, f"from {got_over - phases.before - phases.held:.0f} s after the transaction's end: median {back:.2f} ms"]


def _p99(milliseconds: list[float]) -> float:
    ordered = sorted(milliseconds)
    return ordered[int(0.99 * len(ordered))]


def _age(ages: list[tuple[float, float]], phases: Phases) -> str:
    """Each look of maintenance: the second, and how old the oldest transaction was, by the measures that `/metrics` shows."""
    told = max(age for second, age in ages if phases.of(second) == "held")
    last = ages[-1][1]
    assert told >= phases.held - TOLD, f"open for {phases.held:.0f} s, and told as {told:.0f} s old at most"
    assert last < TOLD, f"nothing is open any more, and {last:.0f} s are told"
    return f"the oldest transaction as the measures of /metrics told it: {told:.0f} s, and {last:.0f} s in the end"


# Those who take part, each a process


def _adds(place: Place) -> None:
    queue, recorder = Queue(open_engine(place.url)), Recorder(Path(place.folder), "adds")
    began = due = look_at = time.monotonic()
    number = pending = 0
    while (now := time.monotonic()) - began < place.seconds():
        if now >= look_at:
            pending, look_at = queue.counts().pending, now + BETWEEN_LOOKS
        if pending < MOST_PENDING:
            keys = [f"key {number + each}" for each in range(50)]
            number += len(keys)
            for key in keys:
                recorder.note("enqueue", "invoke", key=key)
            for key, job_id in zip(keys, queue.enqueue([NewJob("quick", 1, unique_key=key) for key in keys]), strict=True):
                recorder.note("enqueue", "ok", job_id, key=key)
        due += 0.1
        time.sleep(max(0.0, due - now))


def _works(place: Place) -> list[tuple[float, float, int]]:
    """Claims as many at once as a worker does whose jobs are as short."""
    queue, recorder = Queue(open_engine(place.url)), Recorder(Path(place.folder), "works")
    done: list[tuple[Job, Outcome]] = []
    turns: list[tuple[float, float, int]] = []
    began, size = time.monotonic(), 1
    while (second := time.monotonic() - began) < place.seconds():
        asked_at = time.perf_counter()
        claimed = queue.settle_and_claim(f"w:{len(turns)}", done, f"w:{len(turns) + 1}", ("quick",), size).claimed
        claimed_at = time.perf_counter()
        turns.append((second, 1000 * (claimed_at - asked_at), len(claimed)))
        for job in claimed:
            recorder.note("run", "started", job.id, job.lease)
            recorder.note("run", "returned", job.id, job.lease)
        done = [(job, DONE) for job in claimed]
        is_idle = len(claimed) < size
        size = next_size(size, len(claimed), time.perf_counter() - claimed_at)
        if is_idle:
            time.sleep(0.01)
    assert queue.settle(f"w:{len(turns)}", done) == []
    return turns


def _maintains(place: Place) -> list[tuple[float, float]]:
    queue, ages = Queue(open_engine(place.url)), []
    began = time.monotonic()
    while (second := time.monotonic() - began) < place.seconds():
        queue.admit()
        queue.fold_counts()
        ages.append((second, queue.measures(30.0).oldest_transaction or 0.0))
        time.sleep(BETWEEN_LOOKS)
    return ages


def _holds(place: Place) -> None:
    began = time.monotonic()
    time.sleep(place.phases.before)
    with psycopg.connect(place.url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM indexing_jobs")
        time.sleep(max(0.0, began + place.phases.before + place.phases.held - time.monotonic()))


_PARTS: tuple[Callable[[Place], object], ...] = (_adds, _works, _maintains, _holds)
