"""Admission: whatever any program inserts becomes claimable, or has a reason to wait, at a cost that does not grow."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from backends import JobTypeFacts, NewJob, Queue, indexing_jobs, new_key
from backends.admission import admit
from backends.dialects import one_writer
from tests.backends.scene import DONE, analyze, change, claim_one, foreign_engine, insert_many, insert_raw, plans, row, time_text

ON_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
ON_POSTGRES = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
FULL_SCAN = re.compile(r"Seq Scan on indexing_jobs|SCAN indexing_jobs(?! USING)|Sort Key|TEMP B-TREE")


def test_a_plain_insert_with_nothing_but_its_type_is_complete(queue: Queue, database_url: str) -> None:
    foreign = foreign_engine(database_url)
    with foreign.begin() as connection:
        job_id = connection.execute(
            text("INSERT INTO indexing_jobs (program_id, user_id, job_type, folder_id, priority, job_parameters)"
                 " VALUES (1, 2, 'quick', 'folder', 3, '{\"a\": 1}') RETURNING id")
        ).scalar_one()
    foreign.dispose()
    assert queue.admit() == 1
    mine = claim_one(queue)
    assert (mine.id, mine.parameters, mine.retry_count, mine.max_retries) == (job_id, {"a": 1}, 0, 3)
    assert abs((mine.created_at - datetime.now(UTC)).total_seconds()) < 60


def test_admitting_nothing_is_nothing_done(queue: Queue) -> None:
    assert queue.admit() == 0
    assert queue.next_due() is None


def test_a_time_in_the_future_is_honoured_and_comes(queue: Queue, engine: Engine) -> None:
    job_id = insert_raw(engine, scheduled_at=datetime.now(UTC) + timedelta(hours=1))
    assert queue.admit() == 0
    assert row(queue, job_id).waits_for == "time"
    assert 3590 < (queue.next_due() or 0) <= 3600
    change(engine, job_id, scheduled_at=datetime.now(UTC) - timedelta(seconds=1))
    assert queue.next_due() == 0.0
    assert queue.admit() == 1
    assert queue.next_due() is None


@pytest.mark.parametrize("job_type", ["quick", "laned"])
def test_a_job_whose_time_another_program_takes_away_is_due(queue: Queue, engine: Engine, job_type: str) -> None:
    ids = [insert_raw(engine, job_type=job_type, scheduled_at=datetime.now(UTC) + timedelta(hours=1)) for _ in range(2)]
    assert queue.admit() == 0
    change(engine, ids[0], scheduled_at=None)
    assert queue.admit() == 1
    assert claim_one(queue).id == ids[0]
    assert (queue.counts().scheduled, row(queue, ids[1]).waits_for) == (1, "time")


def test_looking_for_jobs_without_a_time_costs_the_same_however_many_are_delayed(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 20_000, scheduled_at=time_text(engine, -3600), waits_for="'time'", examined="true")
    insert_many(engine, 20_000, status="'completed'", completed_at=time_text(engine, 60))
    analyze(engine)
    (plan,) = plans(engine, "scheduled_at IS NULL", queue.admit)
    assert "jobqueue_delayed" in plan, plan
    assert not FULL_SCAN.search(plan), plan


def test_rows_of_an_unknown_type_hold_nobody_up(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 300, job_type="'novel'", priority="9")
    known = insert_raw(engine)
    while queue.admit(100) == 0:
        assert row(queue, known).ready_at is None
    assert row(queue, known).ready_at is not None


def test_a_job_that_waits_for_a_handler_although_its_type_is_known_is_examined_anew(queue: Queue, engine: Engine) -> None:
    ids = [insert_raw(engine, job_type=job_type) for job_type in ("quick", "laned", "laned", "novel")]
    for job_id in ids:
        change(engine, job_id, waits_for="handler")
    assert queue.admit() == 2
    assert [row(queue, job_id).waits_for for job_id in ids] == [None, None, "lane", "handler"]


@ON_POSTGRES
def test_a_type_that_becomes_known_while_a_job_of_it_is_examined_is_served(queue: Queue, engine: Engine) -> None:
    job_id = insert_raw(engine, job_type="late")
    with engine.begin() as connection:
        admit(connection, 10)
        queue.register({"late": JobTypeFacts(None)}, "another")
    assert row(queue, job_id).waits_for == "handler"
    assert queue.admit() == 1
    assert claim_one(queue, "t:1", "late").id == job_id


def test_looking_for_jobs_of_known_types_costs_the_same_however_many_wait_for_a_handler(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 20_000, job_type="'novel'", waits_for="'handler'", examined="true")
    analyze(engine)
    for plan in plans(engine, "min(indexing_jobs.job_type)", queue.admit):
        assert "jobqueue_without_handler" in plan, plan
        assert not re.search(r"Seq Scan on indexing_jobs|SCAN indexing_jobs", plan), plan


@pytest.mark.parametrize("job_type", ["x" * 100_000, "漢" * 501, "", " ", "'; DROP TABLE x; --"])
def test_no_name_of_a_type_stops_admission(queue: Queue, engine: Engine, job_type: str) -> None:
    odd = insert_raw(engine, job_type=job_type)
    known = insert_raw(engine)
    assert queue.admit() == 1
    assert row(queue, odd).waits_for == ("name" if len(job_type) > 500 else "handler")
    assert row(queue, known).ready_at is not None
    assert queue.admit() == 0


@ON_SQLITE
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2031-05-06 07:08:09", "2031-05-06T07:08:09"),
        ("2031-05-06T07:08:09Z", "2031-05-06T07:08:09"),
        ("2031-05-06T09:08:09.5+02:00", "2031-05-06T07:08:09.500000"),
        (" 2031-05-06 07:08:09.123 ", "2031-05-06T07:08:09.123000"),
        ("2031-05-06", "2031-05-06T00:00:00"),
    ],
)
def test_times_that_other_programs_write_mean_what_they_say(
    queue: Queue, engine: Engine, written: str, meant: str
) -> None:
    job_id = insert_raw(engine, scheduled_at=written, created_at=written)
    assert queue.admit() == 0
    now = row(queue, job_id)
    assert now.waits_for == "time"
    assert now.scheduled_at == now.created_at == datetime.fromisoformat(f"{meant}+00:00")


@ON_SQLITE
@pytest.mark.parametrize("written", ["tomorrow", "", "0001-01-01T00:00:00+05:00", "1700000000", "99999-01-01", "\x00"])
def test_a_time_nobody_can_read_counts_as_now(queue: Queue, engine: Engine, written: str) -> None:
    job_id = insert_raw(engine, scheduled_at=written, created_at=written)
    insert_raw(engine)
    assert queue.admit() == 2
    assert abs((row(queue, job_id).created_at - datetime.now(UTC)).total_seconds()) < 60
    assert len(queue.claim("t:1", ("quick",), 5)) == 2


@ON_POSTGRES
@pytest.mark.parametrize("written", ["infinity", "-infinity", "20000-01-01", "4713-01-01 BC"])
def test_a_time_that_no_program_can_read_stops_nobody(queue: Queue, engine: Engine, written: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO indexing_jobs (program_id, job_type, created_at, scheduled_at) VALUES (1, 'quick', :t, :t)"),
            {"t": written},
        )
    known = insert_raw(engine)
    far = written in ("infinity", "20000-01-01")
    assert queue.admit() == (1 if far else 2)
    assert known in {each.id for each in queue.claim("t:1", ("quick",), 5)}
    assert len(queue.page().jobs) == 2
    assert (queue.next_due() is not None) is far


@ON_SQLITE
def test_only_what_is_examined_next_is_read_for_foreign_times(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 5000)
    seen: list[Any] = plans(engine, "NOT LIKE", lambda: queue.admit(100))
    assert len(seen) == 1
    assert "jobqueue_unexamined" in seen[0]


def test_examining_costs_the_same_beside_a_hundred_thousand_delayed_rows(queue: Queue, engine: Engine) -> None:
    later = time_text(engine, -86_400)
    insert_many(engine, 100_000, scheduled_at=later, examined="true", waits_for="'time'")
    insert_many(engine, 5000, examined="true", waits_for="'lane'", lane="'program:9'", job_type="'laned'")
    analyze(engine)
    insert_raw(engine, job_type="laned")
    for plan in plans(engine, "indexing_jobs", queue.admit):
        assert not FULL_SCAN.search(plan), plan
    (due, *_) = plans(engine, "scheduled_at <=", queue.admit)
    assert re.search(r"Index Cond: \(scheduled_at <=|jobqueue_delayed \(scheduled_at<\?\)", due), due


@ON_POSTGRES
def test_looking_for_what_is_due_reads_none_of_what_is_not(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 20_000, scheduled_at=time_text(engine, -86_400), examined="true", waits_for="'time'")
    analyze(engine)
    with engine.connect() as connection:
        connection.execute(text("SET plan_cache_mode = force_generic_plan"))
        before = connection.execute(_READ).scalar_one()
        queue.admit()
        connection.rollback()
        after = connection.execute(_READ).scalar_one()
    assert after - before < 100


_READ = text("SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes WHERE indexrelname = 'jobqueue_delayed'")


@ON_POSTGRES
def test_nobody_reads_all_that_is_pending_by_statistics_made_while_nothing_was(queue: Queue, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE indexing_jobs SET (autovacuum_enabled = off)"))
    insert_many(engine, 20_000, status="'completed'", completed_at=time_text(engine, 60))
    analyze(engine)
    insert_many(engine, 5000, examined="true", ready_at=time_text(engine, 1))
    queue.enqueue([NewJob("laned", 1), NewJob("laned", 1)])
    queue.admit()
    mine = claim_one(queue, "t:1", "laned")

    def all_questions() -> None:
        assert queue.next_due() is None
        assert queue.revive_lanes() == 0
        assert queue.admit() == 0
        assert queue.settle("t:1", [(mine, DONE)]) == []

    for plan in plans(engine, "status = 'pending'", all_questions):
        assert "listed_pending" not in plan, plan
        assert not FULL_SCAN.search(plan), plan


def test_admission_looks_at_no_more_than_its_limit(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 1000)
    assert [queue.admit(400) for _ in range(4)] == [400, 400, 200, 0]


def test_two_who_admit_at_once_share_the_work(queue: Queue, engine: Engine, backend: str) -> None:
    if backend == "sqlite":
        pytest.skip("one writer at a time")
    ids = [insert_raw(engine) for _ in range(3)]
    with engine.connect() as rival:
        rival.execute(text(f"SELECT id FROM indexing_jobs WHERE id = {ids[0]} FOR UPDATE"))
        assert queue.admit() == 2
    assert queue.admit() == 1


def test_a_job_of_a_laned_type_is_never_ready_before_its_lane_is_known(queue: Queue) -> None:
    (job_id,) = queue.enqueue([NewJob("laned", 1)])
    assert (row(queue, job_id).ready_at, row(queue, job_id).waits_for) == (None, None)
    queue.admit()
    assert row(queue, job_id).lane == "program:1"


MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
PRETENCES: dict[str, dict[str, Any]] = {
    "ready": {"ready_at": MOMENT},
    "ready in a lane": {"ready_at": MOMENT, "lane": "program:99", "examined": True},
    "waiting for what never comes": {"waits_for": "nobody"},
    "waiting in another lane": {"waits_for": "lane", "lane": "program:99"},
    "holding secrets": {"holds_secrets": True, "examined": True, "ready_at": MOMENT},
    "running": {"status": "running", "locked_by": "somebody:1", "locked_at": MOMENT},
}


@pytest.mark.parametrize("pretence", PRETENCES)
def test_a_plain_insert_that_says_it_was_admitted_is_examined_like_any_other(
    queue: Queue, engine: Engine, pretence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBQUEUE_ENCRYPTION_KEYS", new_key())
    values = {"job_type": "laned", "job_parameters": '{"access_token": "ya29.x"}'}
    ids = [insert_raw(engine, **values | PRETENCES[pretence]) for _ in range(3)]
    queue.admit()
    assert len(queue.claim("t:1", ("laned",), 5)) == 1
    assert queue.claim("t:2", ("laned",), 5) == []
    rows = [row(queue, each) for each in ids]
    assert [(each.status, each.lane, each.holds_secrets) for each in rows] == [
        ("running", "program:1", True), ("pending", "program:1", True), ("pending", "program:1", True)
    ]
    assert "ya29" not in str(rows)
    assert queue.counts().waiting == 2


def test_copies_of_rows_in_every_condition_hold_no_promise_up(queue: Queue, engine: Engine) -> None:
    originals = queue.enqueue([NewJob("quick", 1), NewJob("laned", 1), NewJob("laned", 1), NewJob("quick", 1)])
    queue.admit()
    running = claim_one(queue, "t:1", "quick")
    queue.cancel(originals[3])
    columns = [each.name for each in indexing_jobs.c if each.name != "id"]
    # Of a job that runs in a lane Postgres takes a copy as a new job; SQLite refuses it, as its checks come before triggers.
    copied = "', '".join(("pending", "cancelled") if one_writer(engine) else ("pending", "cancelled", "running"))
    with engine.begin() as connection:
        connection.execute(text(
            f"INSERT INTO indexing_jobs ({', '.join(columns)}) SELECT {', '.join(columns)} FROM indexing_jobs"
            f" WHERE status IN ('{copied}') ORDER BY id"
        ))
    queue.admit()
    claimed = queue.claim("t:2", ("laned",), 9)
    assert [each.id for each in claimed] == [originals[1]]
    assert queue.held(["t:1"]) == {"t:1"}
    assert [each.job_id for each in queue.heartbeat(["t:1"])] == [running.id]
    assert queue.counts().waiting == 3
