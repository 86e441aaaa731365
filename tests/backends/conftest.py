"""What tests of the queue share: a queue whose job types are known."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from sqlalchemy import Engine

from backends import JobTypeFacts, Queue, RetryPolicy, open_engine
from tests.conftest import BACKENDS, _postgres_database

TYPES = {
    "quick": JobTypeFacts(None),
    "other": JobTypeFacts(None, max_retries=1),
    "laned": JobTypeFacts("program:{program_id}"),
    "also_laned": JobTypeFacts("program:{program_id}"),
}

# Other processes share the machine, so no example is too slow; and a run finds today what it found yesterday.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture
def queue(engine: Engine) -> Queue:
    """A queue that knows `quick` and `other`, which have no lane, and `laned` and `also_laned`, one lane per program."""
    queue = Queue(engine, random=Random(1))
    queue.register(TYPES, "test")
    return queue


@pytest.fixture
def two_queues(sqlite_template: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Queue, Queue]]:
    """The same queue on both databases at once, to compare what they do."""
    if set(BACKENDS) != {"sqlite", "postgresql"}:
        pytest.skip("needs both databases")
    shutil.copy(sqlite_template, tmp_path / "twin.db")
    with contextmanager(_postgres_database)(f'TEMPLATE "{request.getfixturevalue("postgres_template")}"') as url:
        engines = [open_engine(f"sqlite:///{tmp_path}/twin.db"), open_engine(url)]
        first, second = (Queue(engine, {name: RetryPolicy(backoff="none") for name in TYPES}) for engine in engines)
        for queue in (first, second):
            queue.register(TYPES, "test")
        yield first, second
        for engine in engines:
            engine.dispose()
