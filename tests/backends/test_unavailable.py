"""When the database cannot be had, every verb says so in one way, and nothing happened."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from backends import DatabaseUnavailable, NewJob, Queue, Status, open_engine
from tests.backends.scene import DONE, running

VERBS: dict[str, Any] = {
    "enqueue": lambda queue, mine: queue.enqueue([NewJob("quick", 1)]),
    "claim": lambda queue, mine: queue.claim("t:9", ("quick",), 1),
    "settle": lambda queue, mine: queue.settle("tester:0001", [(mine, DONE)]),
    "settle_and_claim": lambda queue, mine: queue.settle_and_claim("tester:0001", [(mine, DONE)], "t:9", ("quick",), 1),
    "transaction": lambda queue, mine: queue.transaction("tester:0001", mine).__enter__(),
    "heartbeat": lambda queue, mine: queue.heartbeat(["tester:0001"]),
    "release": lambda queue, mine: queue.release(["tester:0001"], "x", interrupted=False),
    "admit": lambda queue, mine: queue.admit(),
    "cancel": lambda queue, mine: queue.cancel(mine.id),
    "counts": lambda queue, mine: queue.counts(),
    "why": lambda queue, mine: queue.why(mine.id),
}


def test_no_free_connection_is_told_like_any_other_reason(queue: Queue) -> None:
    mine = running(queue)
    queue.engine.pool._timeout = 0.01  # type: ignore[attr-defined]
    with ExitStack() as taken:
        for _ in range(20):
            try:
                taken.enter_context(queue.engine.connect())
            except Exception:
                break
        for verb in VERBS.values():
            with pytest.raises(DatabaseUnavailable):
                verb(queue, mine)
    view = queue.get(mine.id)
    assert view is not None
    assert view.status == Status.RUNNING


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_server_that_is_not_there_is_unavailable(queue: Queue) -> None:
    mine = running(queue)
    nowhere = Queue(open_engine("postgresql://postgres@127.0.0.1:1/none", connect_timeout=1))
    for verb in VERBS.values():
        with pytest.raises(DatabaseUnavailable):
            verb(nowhere, mine)
