"""The fence: a handler's own rows commit only while its attempt still holds the job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from backends import DatabaseUnavailable, Death, Job, Kind, LeaseLost, Queue, Status, open_engine
from tests.backends.scene import DONE, claim_one, row, running, waiters, waiting_for_nobody
from tests.support import eventually

TAG = "tester:0001"
NOTE = text("INSERT INTO jobqueue_programs (name, source) VALUES ('note', 'local')")


def _notes(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM jobqueue_programs")).scalar_one())


def test_a_handlers_rows_commit_while_it_holds_the_job(queue: Queue, engine: Engine) -> None:
    mine = running(queue)
    with queue.transaction(TAG, mine) as connection:
        connection.execute(NOTE)
    assert _notes(engine) == 1
    assert queue.settle(TAG, [(mine, DONE)]) == []


def test_a_handlers_rows_vanish_with_its_error(queue: Queue, engine: Engine) -> None:
    mine = running(queue)

    def fail() -> None:
        with queue.transaction(TAG, mine) as connection:
            connection.execute(NOTE)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert _notes(engine) == 0


@pytest.mark.parametrize("how", ["released", "reclaimed", "expired", "taken over", "settled", "wrong tag"])
def test_a_superseded_attempt_may_not_begin(queue: Queue, engine: Engine, how: str) -> None:
    mine, tag = running(queue), TAG
    if how == "released":
        queue.release([TAG], "lost", interrupted=True)
    elif how == "reclaimed":
        queue.reclaim(Death((TAG,), mine.id, mine.lease, Kind.CRASHED, "died"))
    elif how == "expired":
        queue.reclaim_expired(-1000)
    elif how == "taken over":
        queue.release([TAG], "lost", interrupted=True)
        claim_one(queue, TAG)
    elif how == "settled":
        queue.settle(TAG, [(mine, DONE)])
    else:
        tag = "somebody:else"
    assert _is_refused(mine, lambda: _note_under(queue, tag, mine)), "a superseded attempt began a transaction"
    assert _notes(engine) == 0


def _note_under(queue: Queue, tag: str, mine: Job) -> None:
    with queue.transaction(tag, mine) as connection:
        connection.execute(NOTE)


def _is_refused(mine: Job, write: Callable[[], None]) -> bool:
    """Whether the attempt is told that it does not hold its job any more."""
    try:
        write()
    except LeaseLost as error:
        return f"job {mine.id}" in str(error)
    return False


def test_progress_and_checkpoints_are_fenced_too(queue: Queue) -> None:
    mine = running(queue)
    queue.progress(TAG, mine, {"processed_files": 3})
    queue.checkpoint(TAG, mine, '{"at": 3}')
    queue.release([TAG], "lost", interrupted=True)
    for write in (lambda: queue.progress(TAG, mine, {"processed_files": 4}), lambda: queue.checkpoint(TAG, mine, None)):
        assert _is_refused(mine, write), "a superseded attempt wrote its progress or its checkpoint"
    now = row(queue, mine.id)
    assert (now.processed_files, now.checkpoint) == (3, '{"at": 3}')
    assert claim_one(queue, "tester:0002").checkpoint == '{"at": 3}'


TAKING_BACK: dict[str, Any] = {
    "release": lambda queue, mine: queue.release([TAG], "lost", interrupted=True),
    "reclaim": lambda queue, mine: queue.reclaim(Death((TAG,), mine.id, mine.lease, Kind.CRASHED, "died")),
}


@pytest.mark.parametrize("verb", TAKING_BACK)
def test_an_open_fenced_transaction_makes_others_wait_until_it_commits(
    queue: Queue, engine: Engine, database_url: str, verb: str
) -> None:
    mine, taken = running(queue), []
    rival = Queue(open_engine(database_url))
    other = threading.Thread(target=lambda: taken.append(TAKING_BACK[verb](rival, mine)))
    with queue.transaction(TAG, mine) as connection:
        other.start()
        if engine.dialect.name == "postgresql":
            eventually(lambda: taken or waiters(engine) == 1)
        else:
            other.join(0.3)
        assert not taken, "an attempt was ended while its fenced transaction was open"
        connection.execute(NOTE)
    eventually(lambda: taken)
    other.join()
    assert _notes(engine) == 1
    assert row(queue, mine.id).status == Status.PENDING
    rival.engine.dispose()


@pytest.mark.parametrize("verb", TAKING_BACK)
def test_whoever_waits_too_long_for_a_fenced_transaction_is_told_to_come_again(
    queue: Queue, database_url: str, verb: str
) -> None:
    mine = running(queue)
    rival = Queue(open_engine(database_url, connect_timeout=0.3))
    if rival.engine.dialect.name == "postgresql":
        rival = Queue(open_engine(database_url, statement_timeout=0.3))
    with queue.transaction(TAG, mine), pytest.raises(DatabaseUnavailable):
        TAKING_BACK[verb](rival, mine)
    assert row(queue, mine.id).status == Status.RUNNING
    TAKING_BACK[verb](rival, mine)
    assert row(queue, mine.id).status == Status.PENDING
    rival.engine.dispose()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_taking_back_what_expired_passes_over_an_open_fenced_transaction(queue: Queue) -> None:
    mine = running(queue)
    with queue.transaction(TAG, mine), waiting_for_nobody():
        assert queue.reclaim_expired(-1000) == []
    assert [each.job_id for each in queue.reclaim_expired(-1000)] == [mine.id]


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_transaction_that_began_while_the_job_was_being_taken_back_finds_it_gone(queue: Queue, database_url: str) -> None:
    mine, said = running(queue), []

    def begin() -> None:
        try:
            with queue.transaction(TAG, mine):
                said.append("in")
        except LeaseLost:
            said.append("lost")

    rival = open_engine(database_url)
    with rival.begin() as connection:
        connection.execute(text(f"SELECT id FROM indexing_jobs WHERE id = {mine.id} FOR UPDATE"))
        late = threading.Thread(target=begin)
        late.start()
        connection.execute(
            text(f"UPDATE indexing_jobs SET status = 'pending', locked_by = NULL WHERE id = {mine.id}")
        )
        late.join(0.2)
        assert not said
    late.join()
    assert said == ["lost"]
    rival.dispose()
