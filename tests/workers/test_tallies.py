"""What a worker counts, and when that comes into the database."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from backends import (
    ATTEMPTS,
    DATABASE_ERRORS,
    DURATIONS,
    TOTAL_SECONDS,
    WAITS,
    DatabaseUnavailable,
    Kind,
    NewJob,
    Outcome,
    Queue,
    Sum,
)
from tests.support import eventually
from tests.workers.jobs import a_job
from tests.workers.running import Start
from workers.tallies import Tallies

DONE = Outcome(Kind.COMPLETED)


class Book:
    """Takes down what is written, unless it is closed."""

    def __init__(self) -> None:
        self.sums: dict[Sum, float] = {}
        self.times = 0
        self.closed = False

    def write(self, additions: Mapping[Sum, float]) -> None:
        self.times += 1
        if self.closed:
            raise DatabaseUnavailable("away")
        for key, amount in additions.items():
            self.sums[key] = self.sums.get(key, 0.0) + amount

    def attempts(self) -> dict[str, float]:
        return {key.label: total for key, total in self.sums.items() if key.name == ATTEMPTS}


def test_an_attempt_counts_when_it_is_settled_and_not_when_its_lease_was_lost() -> None:
    book = Book()
    tallies = Tallies(book.write)
    kept, lost, waiting = (a_job(number) for number in (1, 2, 3))
    tallies.ran(kept, 2.0)
    tallies.ran(lost, 3.0)
    tallies.settled([(kept, DONE), (lost, DONE), (waiting, Outcome(Kind.RELEASED))], [lost])
    tallies.settled([(kept, DONE)], [])
    tallies.leave()
    assert book.attempts() == {"completed": 1.0}
    assert book.sums[Sum(DURATIONS, "quick", TOTAL_SECONDS)] == 2.0


def test_a_job_waits_once_however_often_it_is_claimed() -> None:
    book = Book()
    tallies = Tallies(book.write)
    tallies.claimed([a_job(1), a_job(2)])
    tallies.claimed([a_job(1, lease=2)])
    tallies.leave()
    assert sum(total for key, total in book.sums.items() if key.name == WAITS and key.label != TOTAL_SECONDS) == 2.0


def test_the_first_count_is_written_at_once_and_the_next_ones_together_when_it_is_time() -> None:
    book = Book()
    tallies = Tallies(book.write, flush_every=0.3)
    for number in range(1, 200):
        job = a_job(number)
        tallies.ran(job, 0.0)
        tallies.settled([(job, DONE)], [])
    eventually(lambda: book.attempts() == {"completed": 199.0})
    assert book.times <= 3
    eventually(lambda: not any(isinstance(each, threading.Timer) for each in threading.enumerate()))


def test_what_cannot_be_written_is_kept_and_written_later() -> None:
    book = Book()
    book.closed = True
    tallies = Tallies(book.write, flush_every=0.05)
    job = a_job(1)
    tallies.ran(job, 0.0)
    tallies.settled([(job, DONE)], [])
    eventually(lambda: book.times > 1)
    book.closed = False
    eventually(lambda: book.attempts() == {"completed": 1.0})
    tallies.leave()
    assert book.attempts() == {"completed": 1.0}


def test_nobody_waits_for_figures_while_the_database_is_away() -> None:
    book = Book()
    tallies = Tallies(book.write, flush_every=60.0)
    tallies.claimed([a_job(1)])
    tallies.database_failed()
    eventually(lambda: book.times == 1)
    tallies.database_failed()
    tallies.leave()
    assert book.times == 1
    assert book.sums[Sum(DATABASE_ERRORS, "", "worker")] == 1.0


def test_what_a_worker_did_is_in_the_database_at_once_and_completely_when_it_has_left(queue: Queue, start: Start) -> None:
    good = queue.enqueue([NewJob("quick", 1)] * 30)
    worker = start("quick", "fails")
    eventually(lambda: queue.measures(30.0).sums)
    queue.enqueue([NewJob("fails", 1, max_retries=0)])
    eventually(lambda: queue.counts().failed == 1)
    worker.abandon()
    assert worker.exit_code() == 0
    measures = queue.measures(30.0)
    assert measures.sums[Sum(ATTEMPTS, "quick", "completed")] == len(good)
    assert measures.sums[Sum(ATTEMPTS, "fails", "failed")] == 1
    for name in (WAITS, DURATIONS):
        counted = sum(total for key, total in measures.sums.items() if key.name == name and key.label != TOTAL_SECONDS)
        assert counted == len(good) + 1


def test_an_idle_worker_writes_nothing(queue: Queue, start: Start, tmp_path: Path) -> None:
    worker = start("quick", poll_interval=0.02)
    before = worker.slot.activity.tick
    eventually(lambda: worker.slot.activity.tick > before + 20)
    assert queue.measures(30.0).sums == {}
