"""What tests of the queue share: a queue whose job types are known."""

from __future__ import annotations

from random import Random

import pytest
from sqlalchemy import Engine

from backends import JobTypeFacts, Queue

TYPES = {
    "quick": JobTypeFacts(None),
    "other": JobTypeFacts(None, max_retries=1),
    "laned": JobTypeFacts("program:{program_id}"),
    "also_laned": JobTypeFacts("program:{program_id}"),
}


@pytest.fixture
def queue(engine: Engine) -> Queue:
    """A queue that knows `quick` and `other`, which have no lane, and `laned` and `also_laned`, one lane per program."""
    queue = Queue(engine, random=Random(1))
    queue.register(TYPES, "test")
    return queue
