"""A small program that enqueues, claims and settles, and writes down each step: what is done to it is the test's affair.

Run as `python -m tests.faults.workload URL FOLDER JOURNAL JOBS [SYNCHRONOUS]`; it survives a database that is away.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import event

from backends import DatabaseUnavailable, Job, Kind, NewJob, Outcome, Queue, open_engine
from tests.chaos.history import Recorder

Note = Callable[..., None]
AUTOCHECKPOINT = 12
"""Pages after which the log is moved into the database: often, for that is when most can go wrong."""

DONE = Outcome(Kind.COMPLETED)


def enqueue(queue: Queue, note: Note, key: str) -> None:
    """Add one job, and write down whether that is known to have succeeded."""
    note("enqueue", "invoke", key=key)
    try:
        [job] = queue.enqueue([NewJob("quick", 1, unique_key=key, parameters={"ballast": key * 300})])
    except DatabaseUnavailable:
        note("enqueue", "unknown", key=key)
    else:
        note("enqueue", "ok", job, key=key)


def work(queue: Queue, note: Note, tag: str) -> int:
    """Claim what is there, run it and settle it; what was begun and not settled is given back. Returns how many were claimed."""
    try:
        claimed = queue.claim(tag, ["quick"], 3)
        for mine in claimed:
            _run(note, mine)
        lost = queue.settle(tag, [(mine, DONE) for mine in claimed])
    except DatabaseUnavailable:
        return 0
    assert not lost
    return len(claimed)


def _run(note: Note, mine: Job) -> None:
    note("run", "started", mine.id, mine.lease)
    note("run", "returned", mine.id, mine.lease)


def drain(queue: Queue, note: Note) -> None:
    """Take back what nobody holds any more, and bring all to its end."""
    queue.reclaim_expired(-1000.0)
    for number in range(1000):
        if not queue.admit() and not work(queue, note, f"drain:{number}"):
            return
    raise AssertionError("the queue never came to its end")


def main() -> None:
    """Two jobs are added for each that is worked on, so that some are in every state at any time."""
    url, folder, journal, jobs, *rest = sys.argv[1:]
    engine = open_engine(url, journal=journal, autocheckpoint=AUTOCHECKPOINT)
    if rest:
        event.listen(engine, "connect", lambda own, record: own.execute(f"PRAGMA synchronous = {rest[0]}").fetchall())
    queue, recorder = Queue(engine), Recorder(Path(folder), "workload")
    for number in range(int(jobs)):
        enqueue(queue, recorder.note, f"key {number}")
        if number % 2:
            work(queue, recorder.note, f"worker:{number}")


if __name__ == "__main__":
    main()
