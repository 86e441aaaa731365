"""Lock order: whoever takes several locks takes them in one order, so that no two ever wait for each other.

Each scene holds the lock that comes first, lets a verb wait for it, and looks whether that holds already what comes after.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from backends import Kind, NewJob, Outcome, Queue, open_engine
from backends.counters import Moves
from backends.lanes import elect, lock
from tests.backends.scene import claim_one, waiters
from tests.support import eventually

pytestmark = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
FAILED = Outcome(Kind.FAILED, "no")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine that waits for locks longer than any look at them takes."""
    separator = "&" if "?" in database_url else "?"
    engine = open_engine(f"{database_url}{separator}options=-c%20lock_timeout%3D60s")
    yield engine
    engine.dispose()


@pytest.fixture
def rival(database_url: str) -> Iterator[Engine]:
    """Another program's engine."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@contextmanager
def waiting(rival: Engine, first: str, work: Callable[[], Any]) -> Iterator[None]:
    """In the body `work` waits, in a thread of its own, for what the statement `first` has locked."""
    late = threading.Thread(target=work)
    with rival.connect() as holder:
        holder.execute(text(first))
        late.start()
        eventually(lambda: waiters(rival) == 1)
        yield
        holder.rollback()
    late.join()


def is_free(rival: Engine, statement: str) -> bool:
    """Whether somebody else may do this now; it is undone."""
    with rival.connect() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '100ms'"))
        try:
            connection.execute(text(statement))
        except DBAPIError:
            return False
        return True


def _in_a_transaction(engine: Engine, work: Callable[[Connection], Any]) -> Callable[[], None]:
    def act() -> None:
        with engine.begin() as connection:
            work(connection)

    return act


def test_lanes_are_locked_in_the_order_of_their_names(queue: Queue, engine: Engine, rival: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO jobqueue_lanes (name) VALUES ('b'), ('a')"))
    names = ["a", "b"]
    with waiting(
        rival,
        "SELECT 1 FROM jobqueue_lanes WHERE name = 'a' FOR UPDATE",
        _in_a_transaction(engine, lambda connection: lock(connection, names)),
    ):
        free = is_free(rival, "SELECT 1 FROM jobqueue_lanes WHERE name = 'b' FOR UPDATE")
    assert free, "lane b was locked before lane a"


def test_lanes_that_are_missing_are_made_in_the_order_of_their_names(queue: Queue, engine: Engine, rival: Engine) -> None:
    with waiting(
        rival,
        "INSERT INTO jobqueue_lanes (name) VALUES ('a')",
        _in_a_transaction(engine, lambda connection: elect(connection, ["b", "a"], Moves())),
    ):
        free = is_free(rival, "INSERT INTO jobqueue_lanes (name) VALUES ('b')")
    assert free, "lane b was made before lane a"


@pytest.mark.parametrize("verb", ["release", "settle"])
def test_attempts_are_ended_in_the_order_of_their_ids(queue: Queue, rival: Engine, verb: str) -> None:
    first, second = queue.enqueue([NewJob("quick", 1), NewJob("quick", 1, priority=1)])
    claimed = [claim_one(queue), claim_one(queue)]
    assert [each.id for each in claimed] == [second, first]
    ends: dict[str, Callable[[], Any]] = {
        "release": lambda: queue.release(["tester:0001"], "drained", interrupted=False),
        "settle": lambda: queue.settle("tester:0001", [(each, FAILED) for each in claimed]),
    }
    with waiting(rival, f"SELECT 1 FROM indexing_jobs WHERE id = {first} FOR UPDATE", ends[verb]):
        free = is_free(rival, f"SELECT 1 FROM indexing_jobs WHERE id = {second} FOR UPDATE")
    assert free, "the attempt of a later job was locked before that of an earlier one"


def test_unique_keys_are_taken_in_their_order(queue: Queue, rival: Engine) -> None:
    taken = "INSERT INTO indexing_jobs (program_id, job_type, unique_key) VALUES (1, 'quick', '{}')"
    with waiting(
        rival, taken.format("a"), lambda: queue.enqueue([NewJob("quick", 1, unique_key=key) for key in ("b", "a")])
    ):
        free = is_free(rival, taken.format("b"))
    assert free, "key b was taken before key a"
