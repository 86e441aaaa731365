"""Sums that only grow, and the measures that are made of them and of the counters."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from backends import (
    ATTEMPTS,
    BUCKET_LABELS,
    TOTAL_SECONDS,
    WAITS,
    JobTypeFacts,
    Kind,
    NewJob,
    Outcome,
    Queue,
    Status,
    Sum,
    Sums,
    oldest_transaction,
    open_engine,
    recount,
)
from tests.backends.scene import change, insert_many, insert_raw
from tests.support import eventually

HOUR = timedelta(hours=1)


def measured(queue: Queue) -> dict[Sum, float]:
    return dict(queue.measures(30.0).sums)


def test_what_is_recorded_is_added_to_what_was_recorded_before(queue: Queue) -> None:
    done, failed = Sum(ATTEMPTS, "quick", "completed"), Sum(ATTEMPTS, "quick", "failed")
    queue.record({done: 2.0})
    queue.record({failed: 1.0, done: 3.0})
    queue.record({})
    assert measured(queue) == {done: 5.0, failed: 1.0}


def record_many(url: str, number: int) -> None:
    queue = Queue(open_engine(url))
    names = [Sum(ATTEMPTS, f"type {each}", "completed") for each in range(8)]
    for turn in range(number):
        some = names[turn % 8:] + names[:turn % 8]
        queue.record(dict.fromkeys(some, 1.0))
    queue.engine.dispose()


def test_several_who_record_the_same_sums_in_any_order_lose_nothing_and_never_block_each_other(
    queue: Queue, database_url: str
) -> None:
    queue.engine.dispose()
    writers = [multiprocessing.get_context("spawn").Process(target=record_many, args=(database_url, 20)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert set(measured(queue).values()) == {60.0}


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, "0.1"), (0.1, "0.1"), (0.11, "0.5"), (7200.0, "7200"), (7201.0, "+Inf")])
def test_an_observation_falls_into_the_first_bucket_that_is_wide_enough(seconds: float, bucket: str) -> None:
    sums = Sums()
    sums.observe(WAITS, "quick", [seconds])
    assert sums.take() == {Sum(WAITS, "quick", bucket): 1.0, Sum(WAITS, "quick", TOTAL_SECONDS): seconds}
    assert bucket in BUCKET_LABELS


def test_what_could_not_be_written_down_is_added_to_what_was_counted_meanwhile() -> None:
    sums = Sums()
    sums.add(ATTEMPTS, "quick", "failed")
    taken = sums.take()
    assert not sums
    sums.add(ATTEMPTS, "quick", "failed")
    sums.put_back(taken)
    assert sums.take() == {Sum(ATTEMPTS, "quick", "failed"): 2.0}


def test_every_job_is_in_one_state(queue: Queue) -> None:
    queue.register({"quick": JobTypeFacts(None), "laned": JobTypeFacts("one")}, "test")
    queue.enqueue([NewJob("quick", 1)] * 4 + [NewJob("laned", 1)] * 3)
    queue.enqueue([NewJob("quick", 1, scheduled_at=datetime.now(UTC) + HOUR)])
    queue.admit()
    first, second = queue.claim("w:1", ["quick"], 2)
    queue.settle("w:1", [(first, Outcome(Kind.COMPLETED))])
    jobs = dict(queue.measures(30.0).jobs)
    assert jobs == {
        "queued": 3, "running": 1, "completed": 1, "failed": 0, "cancelled": 0, "scheduled": 1, "waiting": 2,
    }
    assert second.lease == 1


def test_what_was_ever_enqueued_and_discarded_does_not_shrink_by_pruning_retrying_or_recounting(queue: Queue) -> None:
    for job_id in queue.enqueue([NewJob("quick", 1, max_retries=0)] * 3):
        (mine,) = queue.claim(f"w:{job_id}", ["quick"], 1)
        queue.settle(f"w:{job_id}", [(mine, Outcome(Kind.FAILED, "no"))])
    before = queue.measures(30.0)
    assert (before.enqueued, before.discarded, before.jobs["failed"]) == (3, 3, 3)
    queue.retry(1)
    assert queue.prune({Status.FAILED: 0.0}).gone == 2
    queue.fold_counts()
    recount(queue.engine)
    after = queue.measures(30.0)
    assert (after.enqueued, after.discarded, after.jobs["failed"], after.jobs["queued"]) == (3, 3, 0, 1)


def test_rows_that_somebody_deleted_were_enqueued_all_the_same(queue: Queue, engine: Engine) -> None:
    queue.enqueue([NewJob("quick", 1)] * 3)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM indexing_jobs WHERE id = 1")
    recount(engine)
    recount(engine)
    measures = queue.measures(30.0)
    assert (measures.enqueued, measures.jobs["queued"]) == (3, 2)


def test_the_age_is_that_of_what_could_run_now_in_whatever_priority(queue: Queue, engine: Engine) -> None:
    queue.register({"quick": JobTypeFacts(None), "laned": JobTypeFacts("one")}, "test")
    assert queue.measures(30.0).oldest_queued == 0.0
    ids = queue.enqueue([NewJob("quick", 1, priority=priority) for priority in (9, 5, 5, -3)])
    queue.enqueue([NewJob("quick", 1, scheduled_at=datetime.now(UTC) + HOUR), *[NewJob("laned", 1)] * 2])
    queue.admit()
    assert queue.measures(30.0).oldest_queued < 60
    change(engine, ids[-1], ready_at=datetime.now(UTC) - HOUR)
    assert queue.measures(30.0).oldest_queued == pytest.approx(3600, abs=60)


def test_a_job_that_nobody_examines_grows_old_whatever_its_other_columns_say(queue: Queue, engine: Engine) -> None:
    insert_raw(engine, created_at=(datetime.now(UTC) - HOUR).isoformat(sep=" "))
    assert queue.measures(30.0).oldest_queued == pytest.approx(3600, abs=60)


def test_a_lease_that_nobody_renews_is_stalled_until_it_is_taken_back(queue: Queue, engine: Engine) -> None:
    queue.enqueue([NewJob("quick", 1)] * 2)
    dead, _ = queue.claim("w:1", ["quick"], 2)
    assert queue.measures(30.0).stalled == 0
    change(engine, dead.id, locked_at=datetime.now(UTC) - HOUR, locked_boot=None, locked_boot_seconds=None)
    assert queue.measures(30.0).stalled == 1
    (taken,) = queue.reclaim_expired(30.0)
    assert queue.measures(30.0).stalled == 0
    assert (taken.job_type, taken.program_id, taken.lease, taken.process_id) == ("quick", 1, 1, "w")


def test_measuring_does_not_take_longer_for_many_ready_jobs_of_few_priorities(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 20_000, priority="n % 3", examined="true", ready_at="CURRENT_TIMESTAMP")
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE indexing_jobs")
            connection.commit()
    measures = queue.measures(30.0)
    assert measures.jobs["queued"] == 20_000
    assert measures.oldest_queued >= 0.0


def test_a_claim_tells_how_long_the_job_could_have_run(queue: Queue, engine: Engine) -> None:
    old, due, early = queue.enqueue([NewJob("quick", 1)] * 3)
    change(engine, old, created_at=datetime.now(UTC) - HOUR)
    change(engine, due, created_at=datetime.now(UTC) - HOUR, scheduled_at=datetime.now(UTC) - HOUR / 2)
    change(engine, early, created_at=datetime.now(UTC) + HOUR)
    waited = {each.id: each.waited for each in queue.claim("w:1", ["quick"], 3)}
    assert waited == {old: pytest.approx(3600, abs=60), due: pytest.approx(1800, abs=60), early: 0.0}


def test_the_oldest_transaction_that_keeps_the_server_from_cleaning_up_is_told_with_whose_it_is(
    queue: Queue, engine: Engine, backend: str
) -> None:
    if backend == "sqlite":
        assert queue.measures(30.0).oldest_transaction is None
        return
    with engine.connect() as reader:
        reader.execute(text("SET LOCAL TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        reader.execute(text("SELECT 1"))
        assert eventually(lambda: (queue.measures(30.0).oldest_transaction or 0.0) > 0.05)
        found = queue.read(oldest_transaction)
        assert found is not None
        assert (found.application, found.pid) == ("jobqueue", reader.connection.driver_connection.info.backend_pid)  # type: ignore[union-attr]
    assert queue.measures(30.0).oldest_transaction == 0.0
