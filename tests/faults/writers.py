"""Row Q5 of the fault matrix: many processes that write to one SQLite file without a pause, and heartbeats among them."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from backends import JobTypeFacts, Kind, NewJob, Outcome, Queue, open_engine, upgrade
from tests.backends.scene import in_processes
from tests.chaos.recovery import Distribution

from .asked import Asked

NUMBER = 16
BETWEEN_BEATS = 0.25
"""Seconds."""

LONGEST_WAIT = 3.0 / 3
"""Seconds that a heartbeat may take at most: a third of a `lock_timeout` that is a tenth of the usual one."""

FAIR = 0.3
"""What the writer that was served the least had at least, of what the one had that was served the most."""


@dataclass(frozen=True, slots=True)
class Served:
    """How many cycles (a job added, claimed and settled) each writer did, and the seconds that each heartbeat took."""

    cycles: list[int]
    waits: Distribution

    @property
    def fairness(self) -> float:
        """The least served writer's share of what the most served one had."""
        return min(self.cycles) / max(self.cycles)

    def __str__(self) -> str:
        return (
            f"{len(self.cycles)} writers, {sum(self.cycles)} jobs added, claimed and settled, {min(self.cycles)} to"
            f" {max(self.cycles)} each (fairness {self.fairness:.2f})\n  a heartbeat, with the wait for its turn: {self.waits}"
        )


def serve(url: str, seconds: float, number: int = NUMBER) -> Served:
    """Have so many writers at it for so long, while one process renews a lease. Nothing of theirs is refused or lost."""
    engine = open_engine(url)
    queue = Queue(engine)
    queue.register({_type_of(place): JobTypeFacts(None) for place in range(number + 1)}, "writers")
    queue.enqueue([NewJob(_type_of(0), 1)])
    [mine] = queue.claim("held:1", (_type_of(0),), 1)

    all_are_there = get_context("fork").Barrier(number + 1)

    def work(place: int) -> list[float]:
        own = Queue(open_engine(url, connect_timeout=30))
        if place:
            _cycle(own, place, "first")  # takes longer than others: what it says is put together for the first time
        else:
            own.heartbeat(["held:1"])
        all_are_there.wait(60)
        return _beats(own, seconds) if place == 0 else [_cycles(own, seconds, place)]

    waits, *cycles = in_processes(engine, work, range(number + 1), within=seconds + 120)
    assert queue.settle("held:1", [(mine, Outcome(Kind.COMPLETED))]) == [], "its lease was lost"
    counts = queue.counts()
    engine.dispose()
    served = Served([int(each) for [each] in cycles], Distribution(waits))
    assert (counts.pending, counts.running, counts.completed) == (0, 0, number + sum(served.cycles) + 1)
    return served


def _type_of(place: int) -> str:
    """Each has jobs of a type of its own, so that none does another's work."""
    return f"type {place}"


def _cycles(queue: Queue, seconds: float, place: int) -> int:
    done, over = 0, time.monotonic() + seconds
    while time.monotonic() < over:
        _cycle(queue, place, str(done))
        done += 1
    return done


def _cycle(queue: Queue, place: int, name: str) -> None:
    kind, tag = _type_of(place), f"writer {place}:{name}"
    queue.enqueue([NewJob(kind, 1)])
    claimed = queue.claim(tag, (kind,), 1)
    assert len(claimed) == 1
    assert queue.settle(tag, [(each, Outcome(Kind.COMPLETED)) for each in claimed]) == []


def _beats(queue: Queue, seconds: float) -> list[float]:
    waits, over = [], time.monotonic() + seconds
    while time.monotonic() < over:
        time.sleep(BETWEEN_BEATS)
        asked_at = time.monotonic()
        [renewed] = queue.heartbeat(["held:1"])
        waits.append(time.monotonic() - asked_at)
        assert renewed.tag == "held:1"
    return waits


def writers(asked: Asked) -> str:
    """Q5: 16 of them, for minutes."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-faults-", dir="/tmp") as folder:
        url = f"sqlite:///{Path(folder)}/queue.db"
        engine = open_engine(url)
        upgrade(engine)
        engine.dispose()
        served = serve(url, 60 * asked.minutes)
    assert served.fairness >= FAIR, served
    assert max(served.waits) < LONGEST_WAIT, served
    return str(served)
