"""Claim: the best ready jobs of one's own types, once, and at the same cost however long the queue is."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from backends import BadParameters, JobTypeFacts, NewJob, Queue, Status, open_engine
from backends.job import LARGEST_CLAIMED
from tests.backends.scene import (
    DONE,
    analyze,
    change,
    claim_one,
    in_processes,
    insert_many,
    insert_raw,
    plans,
    row,
    time_text,
    waiting_for_nobody,
)

OURS = ("quick", "laned")


def test_a_claim_moves_the_job_to_running_under_its_tag_and_a_higher_lease(queue: Queue) -> None:
    (job_id,) = queue.enqueue([NewJob("quick", 3, 4, "folder", parameters={"a": 1})])
    (claimed,) = queue.claim("one:abc", OURS, 5)
    now = row(queue, job_id)
    assert (claimed.id, claimed.lease, claimed.program_id, claimed.parameters) == (job_id, 1, 3, {"a": 1})
    assert (now.status, now.locked_by, now.lease, now.ready_at) == (Status.RUNNING, "one:abc", 1, None)
    assert now.locked_at is not None
    assert now.started_at is not None


def test_the_best_comes_first_by_priority_then_age_then_id(queue: Queue, engine: Engine) -> None:
    ids = queue.enqueue([NewJob("quick", 1, priority=priority) for priority in (0, 5, 5, -1, 5)])
    change(engine, ids[4], created_at=row(queue, ids[1]).created_at - timedelta(hours=1))
    change(engine, ids[2], created_at=row(queue, ids[1]).created_at)
    best = [ids[4], ids[1], ids[2], ids[0], ids[3]]
    assert [each.id for each in queue.claim("t:1", OURS, 3)] == best[:3]
    assert [each.id for each in queue.claim("t:2", OURS, 3)] == best[3:]


def test_a_claim_takes_only_its_own_types(queue: Queue) -> None:
    theirs, mine = queue.enqueue([NewJob("other", 1, priority=9), NewJob("quick", 1)])
    assert [each.id for each in queue.claim("t:1", OURS, 9)] == [mine]
    assert queue.claim("t:2", (), 9) == []
    assert row(queue, theirs).status == Status.PENDING


def test_a_type_nobody_knows_waits_until_somebody_serves_it(queue: Queue, engine: Engine) -> None:
    job_id = insert_raw(engine, job_type="novel")
    assert queue.claim("t:1", (*OURS, "novel"), 9) == []
    assert row(queue, job_id).waits_for == "handler"
    queue.register({"novel": JobTypeFacts(None)}, "newcomer")
    assert [each.id for each in queue.claim("t:2", ("novel",), 9)] == [job_id]


def test_a_claim_admits_first_when_nothing_is_ready(queue: Queue, engine: Engine) -> None:
    for _ in range(50):
        insert_raw(engine, job_type="novel")
    job_id = insert_raw(engine)
    assert [each.id for each in queue.claim("t:1", OURS, 1)] == [job_id]


def test_a_claim_of_nothing_takes_nothing(queue: Queue) -> None:
    queue.enqueue([NewJob("quick", 1)])
    assert queue.settle_and_claim("", [], "t:1", OURS, 0).claimed == []


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_the_limit_holds_under_statistics_that_are_wrong(queue: Queue, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE indexing_jobs SET (autovacuum_enabled = off)"))
    insert_many(engine, 5000, status="'completed'", completed_at=time_text(engine, 60))
    with engine.begin() as connection:
        connection.execute(text("ANALYZE indexing_jobs"))
    done = queue.claim("t:0", OURS, 0)
    queue.enqueue([NewJob("quick", 1) for _ in range(200)])
    for number in range(1, 12):
        claimed = queue.settle_and_claim(f"t:{number - 1}", [(each, DONE) for each in done], f"t:{number}", OURS, 3).claimed
        assert len(claimed) == 3, "a claim took more than its limit"
        done = claimed


def test_claimers_never_share_a_job(queue: Queue, database_url: str) -> None:
    queue.enqueue([NewJob("quick", 1) for _ in range(400)])

    def drain(number: int) -> list[int]:
        own, mine, turn = Queue(open_engine(database_url)), [], 0
        while claimed := own.claim(f"claimer-{number}:{turn}", OURS, 7):
            mine += [each.id for each in claimed]
            turn += 1
        return mine

    taken = Counter(job_id for answer in in_processes(queue.engine, drain, range(4)) for job_id in answer)
    assert len(taken) == 400
    assert set(taken.values()) == {1}


def test_a_job_that_somebody_else_is_taking_is_passed_over_not_waited_for(queue: Queue, backend: str) -> None:
    if backend == "sqlite":
        pytest.skip("one writer at a time: nobody else is ever in the middle of it")
    taken, free = queue.enqueue([NewJob("quick", 1), NewJob("quick", 1)])
    with queue.engine.connect() as rival:
        rival.execute(text(f"SELECT id FROM indexing_jobs WHERE id = {taken} FOR NO KEY UPDATE"))
        with waiting_for_nobody():
            assert claim_one(queue).id == free


@pytest.mark.parametrize("ready", [0, 100, 100_000])
def test_a_claim_reads_its_index_in_order_whatever_the_queue_holds(queue: Queue, engine: Engine, ready: int) -> None:
    insert_many(engine, 5000, status="'completed'", completed_at=time_text(engine, 60))
    if ready:
        insert_many(engine, ready, examined="true", ready_at=time_text(engine, 1), priority="n % 10")
    analyze(engine)
    (plan,) = plans(engine, "UPDATE indexing_jobs", lambda: queue.claim("t:1", OURS, 10))[:1]
    assert re.search(r"(using|USING) (INDEX )?jobqueue_ready", plan), plan
    assert not re.search(r"Seq Scan|Sort|TEMP B-TREE|SCAN indexing_jobs$", plan, re.MULTILINE), plan


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_the_fused_settle_and_claim_reads_indexes_too(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 20_000, status="'completed'", completed_at=time_text(engine, 60))
    insert_many(engine, 2000, examined="true", ready_at=time_text(engine, 1))
    analyze(engine)
    done = [(each, DONE) for each in queue.claim("t:1", OURS, 100)]
    (plan,) = plans(engine, "UPDATE indexing_jobs", lambda: queue.settle_and_claim("t:1", done, "t:2", OURS, 100))
    assert "using jobqueue_ready" in plan
    assert not re.search(r"Seq Scan|Sort on indexing_jobs", plan), plan


def test_parameters_of_any_size_hold_up_nobody_and_fail_their_own_job_in_clear_words(queue: Queue, engine: Engine) -> None:
    sizes = (LARGEST_CLAIMED, LARGEST_CLAIMED + 1)
    largest, larger = (insert_raw(engine, job_parameters='{"token_s": "' + "x" * (size - 15) + '"}') for size in sizes)
    assert [queue.admit(), queue.admit()] == [1, 1]
    claimed = {each.id: each for each in queue.claim("tester:0001", ("quick",), 2)}
    assert len(claimed[largest].parameters["token_s"]) == LARGEST_CLAIMED - 15
    with pytest.raises(BadParameters, match=f"job {larger}: job_parameters take 10000001 bytes; at most 10000000 are read"):
        claimed[larger].parameters  # noqa: B018
