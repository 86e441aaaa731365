"""Reset stuck: an operator takes back one program's jobs whose lease is dead, and nothing that is alive."""

from __future__ import annotations

from sqlalchemy import Engine

from backends import Job, Kind, Queue, Role, Status
from tests.backends.scene import analyze, change, everything, insert_many, member, plans, row, running, time_text


def _dead(queue: Queue, program_id: int, tag: str = "dead:1") -> Job:
    mine = running(queue, tag, program_id=program_id)
    change(queue.engine, mine.id, locked_at=None, locked_boot=None, locked_boot_seconds=None)
    return mine


def test_a_dead_lease_is_taken_back_as_an_interruption_and_a_living_one_is_not(queue: Queue) -> None:
    dead, alive = _dead(queue, 1), running(queue, "alive:1", program_id=1)
    settled = [(each.job_id, each.status, each.kind) for each in queue.reset_stuck(1, 30)]
    assert settled == [(dead.id, Status.PENDING, Kind.INTERRUPTED)], "a living lease was taken back"
    assert (row(queue, dead.id).retry_count, row(queue, dead.id).interruptions) == (0, 1)
    assert row(queue, alive.id).status == Status.RUNNING
    assert queue.reset_stuck(1, 30) == []


def test_another_program_is_left_alone(queue: Queue) -> None:
    _dead(queue, 1)
    before = everything(queue)
    assert queue.reset_stuck(2, 30) == [], "another program's job was taken back"
    assert everything(queue) == before


def test_only_who_may_act_in_the_program_resets_it(queue: Queue, engine: Engine) -> None:
    dead = _dead(queue, 1)
    strangers = [member(engine, 2, wanted=Role.OPERATOR), member(engine, 1, role=Role.VIEWER, wanted=Role.OPERATOR)]
    for scope in strangers:
        assert queue.reset_stuck(1, 30, scope) == [], "reached beyond the scope"
    operator = member(engine, 1, wanted=Role.OPERATOR)
    assert [each.job_id for each in queue.reset_stuck(1, 30, operator)] == [dead.id]


def test_it_is_part_of_the_callers_transaction(queue: Queue, engine: Engine) -> None:
    dead = _dead(queue, 1)
    with engine.connect() as connection:
        assert [each.job_id for each in queue.reset_stuck(1, 30, connection=connection)] == [dead.id]
        connection.rollback()
    assert row(queue, dead.id).status == Status.RUNNING


def test_it_reads_no_history(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 20_000, status="'completed'", completed_at=time_text(engine, 60))
    running(queue)
    analyze(engine)
    (plan,) = plans(engine, "FROM indexing_jobs", lambda: queue.reset_stuck(1, 30))[:1]
    assert "jobqueue_running" in plan or "jobqueue_one_runs" in plan, plan
