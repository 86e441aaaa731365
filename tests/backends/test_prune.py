"""Prune: old finished rows go, in small steps; everything else stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from backends import FINAL, Kind, NewJob, Outcome, Queue, Status
from backends.dialects import one_writer
from tests.backends.scene import DONE, change, claim_one, everything, insert_many, plans, row, running, time_text

DAY = 86_400.0
KEEP_A_DAY = dict.fromkeys(FINAL, DAY)


def _age(engine: Engine, job_id: int, days: float) -> None:
    then = datetime.now(UTC) - timedelta(days=days)
    change(engine, job_id, created_at=then, completed_at=then)


def _finished(queue: Queue, engine: Engine, outcome: Outcome, days: float) -> int:
    mine = running(queue)
    queue.settle("tester:0001", [(mine, outcome)])
    _age(engine, mine.id, days)
    return mine.id


def test_old_finished_jobs_go_with_their_attempts_and_their_counts(queue: Queue, engine: Engine) -> None:
    old = [_finished(queue, engine, Outcome(kind, "x"), 2) for kind in (Kind.COMPLETED, Kind.GAVE_UP, Kind.CANCELLED)]
    assert queue.prune(KEEP_A_DAY).gone == 3
    assert [queue.get(job_id) for job_id in old] == [None] * 3
    assert [queue.attempts(job_id) for job_id in old] == [[]] * 3
    counts = queue.counts()
    assert (counts.pending, counts.completed, counts.failed, counts.cancelled) == (0, 0, 0, 0)


def test_what_is_young_or_not_finished_stays(queue: Queue, engine: Engine) -> None:
    _finished(queue, engine, DONE, 0.5)
    busy = running(queue)
    change(engine, busy.id, created_at=datetime.now(UTC) - timedelta(days=9))
    (waiting,) = queue.enqueue([NewJob("quick", 1)])
    change(engine, waiting, created_at=datetime.now(UTC) - timedelta(days=9))
    before = everything(queue)
    assert queue.prune(KEEP_A_DAY).gone == 0
    assert everything(queue) == before


def test_each_status_has_its_own_retention_and_none_means_for_ever(queue: Queue, engine: Engine) -> None:
    done = _finished(queue, engine, DONE, 2)
    failed = _finished(queue, engine, Outcome(Kind.GAVE_UP, "no"), 2)
    cancelled = _finished(queue, engine, Outcome(Kind.CANCELLED, "no"), 2)
    assert queue.prune({Status.COMPLETED: DAY, Status.FAILED: 7 * DAY}).gone == 1
    assert queue.get(done) is None
    assert queue.get(failed) is not None
    assert queue.get(cancelled) is not None


def test_no_retention_at_all_deletes_nothing(queue: Queue, engine: Engine) -> None:
    _finished(queue, engine, DONE, 400)
    assert queue.prune({}).gone == 0
    assert queue.counts().completed == 1


def test_pruning_goes_on_where_it_stopped_and_starts_over_at_the_end(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 250, status="'completed'", created_at=time_text(engine, 2 * DAY), completed_at=time_text(engine, 2 * DAY))
    assert [queue.prune(KEEP_A_DAY, batch=100).gone for _ in range(4)] == [100, 100, 50, 0]
    assert queue.page().jobs == []


def test_an_old_job_among_the_young_is_found_in_time(queue: Queue, engine: Engine) -> None:
    young = [_finished(queue, engine, DONE, 0.1) for _ in range(5)]
    for job_id in young:
        change(engine, job_id, created_at=datetime.now(UTC) - timedelta(days=3))
    old = _finished(queue, engine, DONE, 3)
    assert sum(queue.prune(KEEP_A_DAY, batch=2).gone for _ in range(4)) == 1
    assert queue.get(old) is None


def test_a_pruned_key_may_be_used_again(queue: Queue, engine: Engine) -> None:
    mine = running(queue, unique_key="night")
    queue.settle("tester:0001", [(mine, DONE)])
    _age(engine, mine.id, 2)
    queue.prune(KEEP_A_DAY)
    (again,) = queue.enqueue([NewJob("quick", 1, unique_key="night")])
    assert again > mine.id
    assert claim_one(queue).id == again


def test_a_lane_survives_its_pruned_head(queue: Queue, engine: Engine) -> None:
    mine = running(queue, job_type="laned")
    queue.settle("tester:0001", [(mine, DONE)])
    _age(engine, mine.id, 2)
    assert queue.prune(KEEP_A_DAY).gone == 1
    assert running(queue, "tester:0002", job_type="laned").lane == mine.lane


def _refer(engine: Engine, job_ids: list[int], what: str) -> None:
    """Have rows of a table of somebody else refer to these jobs."""
    with engine.begin() as connection:
        connection.execute(text(
            "CREATE TABLE IF NOT EXISTS job_notes (id INTEGER PRIMARY KEY, job_id "
            f"{'INTEGER' if one_writer(engine) else 'BIGINT'} REFERENCES indexing_jobs (id) {what})"
        ))
        for job_id in job_ids:
            connection.execute(text(f"INSERT INTO job_notes VALUES ({job_id}, {job_id})"))


@pytest.mark.parametrize("what", ["", "ON DELETE RESTRICT"])
def test_jobs_that_another_table_needs_stay_are_told_of_once_and_hold_no_other_up(
    queue: Queue, engine: Engine, what: str
) -> None:
    old = [_finished(queue, engine, Outcome(Kind.GAVE_UP, "no"), 2) for _ in range(6)]
    _refer(engine, [old[0], old[3]], what)
    steps = [queue.prune(KEEP_A_DAY, batch=2) for _ in range(4)]
    assert [step.gone for step in steps] == [1, 1, 2, 0]
    assert [job_id for job_id in old if queue.get(job_id)] == [old[0], old[3]]
    assert [len(queue.attempts(job_id)) for job_id in old] == [1, 0, 0, 1, 0, 0]
    assert queue.counts().failed == 2
    name = "a foreign key of job_notes" if one_writer(engine) else "job_notes_job_id_fkey of job_notes"
    assert [dict(step.held_back) for step in steps] == [{}, {}, {}, {name: 2}]
    assert [step.is_over for step in steps] == [False, False, False, True]
    again = [queue.prune(KEEP_A_DAY, batch=9) for _ in range(2)]
    assert [(step.gone, step.held_back) for step in again] == [(0, {}), (0, {})]
    _refer(engine, [_finished(queue, engine, DONE, 2)], what)
    assert queue.prune(KEEP_A_DAY).held_back == {name: 3}


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_constraint_that_is_checked_at_the_commit_holds_back_its_job_alone(queue: Queue, engine: Engine) -> None:
    needed, other = (_finished(queue, engine, DONE, 2) for _ in range(2))
    _refer(engine, [needed], "DEFERRABLE INITIALLY DEFERRED")
    assert queue.prune(KEEP_A_DAY) == (1, True, {"job_notes_job_id_fkey of job_notes": 1})
    assert (queue.get(needed) is None, queue.get(other) is None) == (False, True)


@pytest.mark.parametrize("what", ["ON DELETE CASCADE", "ON DELETE SET NULL"])
def test_a_reference_that_lets_go_holds_nothing_back(queue: Queue, engine: Engine, what: str) -> None:
    old = _finished(queue, engine, DONE, 2)
    _refer(engine, [old], what)
    assert queue.prune(KEEP_A_DAY) == (1, True, {})


def test_a_step_reads_its_batch_and_no_more(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 5000, status="'completed'", created_at=time_text(engine, 60), completed_at=time_text(engine, 60))
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
    for plan in plans(engine, "indexing_jobs", lambda: queue.prune(KEEP_A_DAY, batch=10)):
        assert "Seq Scan" not in plan, plan
        assert "SCAN indexing_jobs" not in plan, plan
    assert row(queue, 1).status == Status.COMPLETED
