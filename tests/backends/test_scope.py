"""Scope: every verb that takes one answers for what is outside as for what is not there, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from backends import CancelAnswer, NewJob, Queue, RetryAnswer, Role, Scope
from tests.backends.scene import DONE, change, claim_one, everything, member

ANSWERS: dict[str, tuple[Callable[[Queue, dict[str, int], Scope], Any], Any]] = {
    "get": (lambda queue, ids, scope: queue.get(ids["pending"], scope), None),
    "why": (lambda queue, ids, scope: queue.why(ids["pending"], scope=scope), None),
    "page of all": (lambda queue, ids, scope: queue.page(scope=scope).jobs, []),
    "page of a program": (lambda queue, ids, scope: queue.page(2, scope=scope).jobs, []),
    "page of what runs": (lambda queue, ids, scope: queue.page(status="running", scope=scope).jobs, []),
    "counts of all": (lambda queue, ids, scope: queue.counts(scope=scope).pending, 0),
    "counts of a program": (lambda queue, ids, scope: queue.counts(2, scope).pending, 0),
    "oldest of a program": (lambda queue, ids, scope: _oldest(queue, 2, scope), None),
    "cancel": (lambda queue, ids, scope: queue.cancel(ids["pending"], scope), CancelAnswer.MISSING),
    "cancel what runs": (lambda queue, ids, scope: queue.cancel(ids["running"], scope), CancelAnswer.MISSING),
    "retry": (lambda queue, ids, scope: queue.retry(ids["over"], scope), RetryAnswer.MISSING),
    "reset stuck": (lambda queue, ids, scope: queue.reset_stuck(2, 30, scope), []),
}


def _oldest(queue: Queue, program_id: int, scope: Scope) -> Any:
    from backends.pages import oldest_pending

    return queue.read(lambda connection: oldest_pending(connection, program_id, scope))


@pytest.mark.parametrize("verb", ANSWERS)
def test_no_verb_reaches_beyond_its_scope(queue: Queue, engine: Engine, verb: str) -> None:
    over, running = queue.enqueue([NewJob("quick", 2), NewJob("quick", 2)])
    queue.settle("tester:0001", [(claim_one(queue), DONE)])
    assert claim_one(queue, "dead:0001").id == running
    change(engine, running, locked_at=None, locked_boot=None, locked_boot_seconds=None)
    (pending,) = queue.enqueue([NewJob("quick", 2)])
    ask, nothing = ANSWERS[verb]
    stranger = member(engine, 1, role=Role.ADMIN)
    before = everything(queue)
    answer = ask(queue, {"over": over, "running": running, "pending": pending}, stranger)
    assert answer == nothing, "a verb reached beyond its scope"
    assert everything(queue) == before, "a verb reached beyond its scope"
