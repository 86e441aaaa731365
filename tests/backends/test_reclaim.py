"""Reclaim: takes back what the dead held; the job in hand is charged, its neighbours are not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text, update

from backends import Death, Job, Kind, NewJob, Queue, Settled, Status, SupervisorReport
from backends.dialects import one_writer
from backends.inspection import stale_leases
from backends.sqlite import boot_clock
from backends.tables import supervisors
from tests.backends.scene import analyze, change, claim_one, everything, insert_many, plans, row, running, time_text

ON_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
ON_POSTGRES = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


def _batch(queue: Queue) -> list[Job]:
    queue.enqueue([NewJob("quick", 1) for _ in range(3)])
    return queue.claim("dead:1", ("quick",), 3)


def test_a_death_charges_the_job_in_hand_and_its_neighbours_go_unspent_with_a_word_on_why_they_may_run_twice(
    queue: Queue,
) -> None:
    before, victim, after = _batch(queue)
    death = Death(("dead:1",), victim.id, victim.lease, Kind.CRASHED, "signal 11", "stack")
    settled = queue.reclaim(death)
    assert {(each.job_id, each.status, each.kind) for each in settled} == {
        (before.id, Status.PENDING, Kind.RELEASED),
        (victim.id, Status.PENDING, Kind.CRASHED),
        (after.id, Status.PENDING, Kind.RELEASED),
    }
    assert [row(queue, each.id).retry_count for each in (before, victim, after)] == [0, 1, 0]
    assert [(each.outcome, each.reason, each.detail) for each in queue.attempts(victim.id)] == [
        ("crashed", "signal 11", "stack")
    ], "nothing says why the job may run again"
    for neighbour in (before, after):
        assert [(each.outcome, each.reason) for each in queue.attempts(neighbour.id)] == [
            ("released", "not settled before its worker died: signal 11")
        ], "nothing says why the neighbour may run twice"


def test_a_death_reported_twice_is_charged_once(queue: Queue) -> None:
    _, victim, _ = _batch(queue)
    death = Death(("dead:1",), victim.id, victim.lease, Kind.CRASHED, "signal 11")
    queue.reclaim(death)
    again = queue.claim("alive:1", ("quick",), 3)
    before = everything(queue)
    assert queue.reclaim(death) == [], "what others hold was taken back"
    assert everything(queue) == before
    assert len(again) == 3


def test_a_death_is_not_charged_to_another_attempt_of_the_same_job(queue: Queue) -> None:
    mine = running(queue, "dead:1")
    queue.reclaim(Death(("dead:1",), mine.id, mine.lease + 1, Kind.CRASHED, "signal 11"))
    assert row(queue, mine.id).retry_count == 0, "a death was charged to an attempt that it did not end"


def test_a_worker_that_died_idle_charges_nobody(queue: Queue) -> None:
    _batch(queue)
    assert {each.kind for each in queue.reclaim(Death(("dead:1",), 0, 0, Kind.CRASHED, "signal 9"))} == {Kind.RELEASED}


def test_a_job_that_keeps_killing_its_worker_ends_failed_with_the_reason(queue: Queue, engine: Engine) -> None:
    queue.enqueue([NewJob("quick", 1, max_retries=2)])
    for number in range(3):
        mine = claim_one(queue, f"dead:{number}")
        queue.reclaim(Death((f"dead:{number}",), mine.id, mine.lease, Kind.CRASHED, "killed by signal 9"))
        if number < 2:
            change(engine, mine.id, scheduled_at=datetime.now(UTC) - timedelta(seconds=1))
    now = row(queue, mine.id)
    assert (now.status, now.retry_count, now.error_message) == (Status.FAILED, 2, "killed by signal 9")


@pytest.mark.parametrize("job_type", ["quick", "laned"])
def test_what_was_renewed_in_time_is_never_taken_back(queue: Queue, job_type: str) -> None:
    running(queue, job_type=job_type)
    before = everything(queue)
    assert queue.reclaim_expired(30) == [], "a living lease was taken back"
    assert everything(queue) == before


def _age(engine: Engine, job_id: int, seconds: float) -> None:
    change(engine, job_id, locked_at=datetime.now(UTC) - timedelta(seconds=seconds))


@ON_POSTGRES
def test_what_nobody_renewed_is_taken_back_as_an_interruption(queue: Queue, engine: Engine) -> None:
    old, fresh = running(queue, "lost:1"), running(queue, "alive:1")
    _age(engine, old.id, 31)
    _age(engine, fresh.id, 29)
    (settled,) = queue.reclaim_expired(30)
    assert (settled.job_id, settled.status, settled.kind) == (old.id, Status.PENDING, Kind.INTERRUPTED)
    assert "not renewed for 30 s" in settled.reason
    assert row(queue, old.id).interruptions == 1


def test_a_running_row_without_a_time_has_expired(queue: Queue, engine: Engine) -> None:
    mine = running(queue)
    change(engine, mine.id, locked_at=None, locked_boot=None, locked_boot_seconds=None)
    assert [each.job_id for each in queue.reclaim_expired(3600)] == [mine.id]


def _expire(engine: Engine, job_id: int, seconds: float) -> None:
    """Have the lease of a job be so old, by whichever clock counts."""
    _age(engine, job_id, seconds)
    if one_writer(engine):
        change(engine, job_id, locked_boot_seconds=boot_clock()[1] - seconds)


TAKE_BACK: dict[str, Callable[[Queue, float], list[Settled]]] = {
    "reclaim": lambda queue, lock_timeout: queue.reclaim_expired(lock_timeout),
    "reset": lambda queue, lock_timeout: queue.reset_stuck(1, lock_timeout),
}


@pytest.mark.parametrize("verb", TAKE_BACK)
def test_a_lease_lasts_as_long_as_that_of_the_living_supervisor_that_is_most_patient(
    queue: Queue, engine: Engine, verb: str
) -> None:
    mine, old = running(queue, "patient:1"), running(queue, "patient:2")
    queue.report(SupervisorReport("patient", "far", 1, datetime.now(UTC), {}, {"state": "running"}, lock_timeout=60))
    queue.report(SupervisorReport("hasty", "near", 2, datetime.now(UTC), {}, lock_timeout=15))
    queue.report(SupervisorReport("of an older release", "near", 3, datetime.now(UTC), {}))
    _expire(engine, mine.id, 20)
    _expire(engine, old.id, 61)
    assert queue.measures(15).stalled == 1, "metrics call a lease dead that nobody takes back"
    assert queue.read(lambda connection: stale_leases(connection, 15)) == [(old.id, "patient:2")]
    (settled,) = TAKE_BACK[verb](queue, 15)
    assert (settled.job_id, settled.reason) == (old.id, "lease not renewed for 60 s: its host or supervisor is gone")
    with engine.begin() as connection:
        gone = datetime.now(UTC) - timedelta(seconds=61)
        connection.execute(update(supervisors).where(supervisors.c.id == "patient").values(seen_at=gone))
    assert [each.job_id for each in TAKE_BACK[verb](queue, 15)] == [mine.id]


@ON_POSTGRES
def test_a_row_that_its_holder_is_just_settling_is_not_waited_for(queue: Queue, engine: Engine) -> None:
    busy, lost = running(queue, "a:1"), running(queue, "b:1")
    for each in (busy, lost):
        _age(engine, each.id, 60)
    with engine.connect() as rival:
        rival.execute(text(f"SELECT id FROM indexing_jobs WHERE id = {busy.id} FOR UPDATE"))
        assert [each.job_id for each in queue.reclaim_expired(30)] == [lost.id]


@ON_SQLITE
def test_a_record_of_another_boot_has_expired_whatever_its_time_says(queue: Queue, engine: Engine) -> None:
    mine = running(queue)
    change(engine, mine.id, locked_boot="another boot", locked_boot_seconds=boot_clock()[1] + 1000)
    assert [each.job_id for each in queue.reclaim_expired(30)] == [mine.id]


@ON_SQLITE
def test_a_wall_clock_that_steps_forward_takes_nothing_from_the_living(queue: Queue, engine: Engine) -> None:
    mine = running(queue)
    _age(engine, mine.id, 86_400)
    assert queue.reclaim_expired(30) == [], "a step of the wall clock ended a living lease"
    queue.heartbeat(["tester:0001"])
    assert queue.reclaim_expired(30) == []


@ON_SQLITE
def test_a_wall_clock_that_steps_back_keeps_nothing_for_the_dead(queue: Queue, engine: Engine) -> None:
    mine = running(queue)
    _age(engine, mine.id, -86_400)
    change(engine, mine.id, locked_boot_seconds=boot_clock()[1] - 31)
    expired = [each.job_id for each in queue.reclaim_expired(30)]
    assert expired == [mine.id], "a step of the wall clock kept a dead lease"


@ON_SQLITE
def test_without_a_boot_record_the_time_alone_decides(queue: Queue, engine: Engine) -> None:
    old, fresh = running(queue, "a:1"), running(queue, "b:1")
    for each, seconds in ((old, 31), (fresh, 29)):
        _age(engine, each.id, seconds)
        change(engine, each.id, locked_boot=None, locked_boot_seconds=None)
    assert [each.job_id for each in queue.reclaim_expired(30)] == [old.id]


def test_a_reclaimed_lane_goes_on_even_though_the_dead_held_it(queue: Queue, engine: Engine) -> None:
    first, second = queue.enqueue([NewJob("laned", 1), NewJob("laned", 1, priority=1)])
    mine = claim_one(queue)
    assert mine.id == second
    change(engine, mine.id, locked_at=None, locked_boot=None)
    queue.reclaim_expired(30)
    assert claim_one(queue, "alive:1").id == second
    assert queue.claim("alive:2", ("laned",), 1) == []
    assert row(queue, first).waits_for == "lane"


def test_looking_for_the_expired_never_reads_the_history(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 20_000, status="'completed'", completed_at=time_text(engine, 60))
    running(queue)
    analyze(engine)
    (plan,) = plans(engine, "FROM indexing_jobs", lambda: queue.reclaim_expired(30))[:1]
    assert "jobqueue_running" in plan or "jobqueue_one_runs" in plan, plan
