"""The path of a worker: claims jobs of every kind, runs and settles them, and is told to leave with some not started.

What depends on how fast it goes is fixed, so that each run sends the same statements, all from one thread: how many jobs it
claims at once, when it writes down its figures, and that no job is slow. What its helper does behind a slow job, settling in
another thread by the same statements, is therefore not killed at.
"""

from __future__ import annotations

import os
from typing import Any

from backends import NewJob, Queue, RetryPolicy
from tests.chaos.history import Recorder
from workers import Board, HandlerSpec, WorkerSettings, batch, pace, run_worker, tallies, worker

from .databases import Place, victims_url
from .enqueue_path import Caller
from .handlers import AWHILE, DRAINS, HISTORIES, TOKEN
from .scenery import HANDLER, LANES, prepare

_AT_WORK = ["effect", "progress", "checkpoint", "effect"]
LANED: list[dict[str, Any]] = [
    {"does": _AT_WORK}, {"does": ["effect"]}, {"ends": "failed"}, {"ends": "snoozed"}, {"ends": "given up"},
    {"ends": "cancelled"}, {"does": ["secret"], "access_token": TOKEN},
]
PLAIN: list[dict[str, Any]] = [
    {"does": _AT_WORK}, {}, {"ends": "given up"}, {"does": ["drain"]}, {}, {"does": ["effect"]},
]
"""The lanes' come first, one by one; of these a claim brings several, and the worker leaves in the middle."""


def prepare_for_worker(place: Place) -> None:
    """Jobs that nobody has examined yet, so that the worker admits; two in one lane."""
    engine = prepare(place)
    caller = Caller(Queue(engine), Recorder(place.histories, "seed"))
    for number, parameters in enumerate(LANED):
        new = NewJob("laned", max(1, number), priority=50 - number, unique_key=f"laned {number}", parameters=parameters)
        caller.enqueue(f"laned {number}", [new])
    for number, parameters in enumerate(PLAIN):
        new = NewJob("plain", 1, priority=20 - number, unique_key=f"plain {number}", parameters=parameters)
        caller.enqueue(f"plain {number}", [new])
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE indexing_jobs SET ready_at = NULL, examined = NULL, waits_for = NULL, lane = NULL")
    engine.dispose()


class _Tallies(tallies.Tallies):
    """Writes down its first figures at once, and the others when it leaves, as a worker does that lives for seconds.

    A worker does the first in a thread of its own: how many there are by then would be chance.
    """

    def _wake_later(self) -> None:
        if self._written_at < 0.0:
            self._flush()


def work(place: Place) -> None:
    """Be a worker until a handler says that it is enough."""
    os.environ |= {HISTORIES: str(place.histories), DRAINS: "1"}
    worker.Tallies = _Tallies  # type: ignore[misc]
    worker.next_size = _as_if_jobs_took_no_time
    batch.SLOW = AWHILE
    slot, wake, life = Board(1).slots[0], os.pipe(), os.pipe()
    policy = RetryPolicy(backoff="constant", initial=AWHILE, jitter="none")
    settings = WorkerSettings(
        process_id="one-1", slot_index=0, incarnation=1, database_url=victims_url(place),
        handlers=tuple(HandlerSpec(name, HANDLER) for name in LANES), policies=dict.fromkeys(LANES, policy),
        engine_options={"key_file": place.keys, "autocheckpoint": 0}, heartbeat_interval=200.0, lock_timeout=600.0,
    )
    run_worker(settings, slot, wake[0], life[0])


def _as_if_jobs_took_no_time(size: int, ran: int, seconds: float) -> int:
    return pace.next_size(size, ran, 0.0)
