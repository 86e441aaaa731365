"""What tests of the worker share: a queue that knows the handlers' types, and workers that are gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from sqlalchemy import Engine

from backends import JobTypeFacts, Queue
from tests.workers.running import RunningWorker, Start

UNLANED = ("quick", "until_file", "obedient", "fails", "raises", "counts_attempts", "reports", "misreports", "notes", "confides",
           "asks_for_a_secret", "uses_up_threads")

# Other processes share the machine, so no example is too slow; and a run finds today what it found yesterday.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture
def queue(engine: Engine) -> Queue:
    """A queue that knows all handlers, and a type that nobody handles."""
    queue = Queue(engine, random=Random(1))
    queue.register({name: JobTypeFacts(None) for name in (*UNLANED, "nobodys")}, "test")
    return queue


@pytest.fixture
def start(queue: Queue, database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Start a worker for these types."""
    started: list[RunningWorker] = []

    def start_one(*types: str, **settings: object) -> RunningWorker:
        worker = RunningWorker(tmp_path, database_url, *types, **settings)
        started.append(worker)
        return worker.start(queue)

    yield start_one
    for worker in started:
        worker.remove()
