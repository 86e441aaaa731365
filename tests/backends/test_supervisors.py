"""Supervisors of one database: who is alive, and that they agree on what a job type's lane is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, update

from backends import JobTypeFacts, LaneDisagreement, NewJob, Queue, SupervisorReport
from backends.tables import supervisors
from tests.backends.scene import row

BEGAN = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def _report(identity: str = "one", lane: str | None = "program:{program_id}", **status: object) -> SupervisorReport:
    return SupervisorReport(identity, "host", 42, BEGAN, {"laned": lane, "quick": None}, status)


def _make_old(engine: Engine, seconds: float) -> None:
    with engine.begin() as connection:
        connection.execute(update(supervisors).values(seen_at=datetime.now(UTC) - timedelta(seconds=seconds)))


def test_a_report_is_read_back_by_everybody(queue: Queue) -> None:
    queue.report(_report(workers=[1, 2]))
    queue.report(_report(workers=[3]))
    (view,) = queue.supervisors()
    assert (view.id, view.host, view.pid, view.started_at, view.status) == ("one", "host", 42, BEGAN, {"workers": [3]})
    assert view.lock_timeout is None
    assert view.job_types == {"laned": "program:{program_id}", "quick": None}
    assert 0 <= view.age < 5


def test_those_that_left_or_fell_silent_are_not_told(queue: Queue, engine: Engine) -> None:
    queue.report(_report("silent"))
    _make_old(engine, 100)
    queue.report(_report("one"))
    queue.report(_report("two"))
    queue.forget("two")
    queue.forget("never there")
    assert [view.id for view in queue.supervisors(within=30)] == ["one"]
    assert {view.id for view in queue.supervisors()} == {"one", "silent"}


def test_a_lane_that_a_living_supervisor_gives_otherwise_is_refused_with_both_lanes(queue: Queue) -> None:
    queue.report(_report("one"))
    with pytest.raises(LaneDisagreement, match=r"job type laned: this file says lane None, .*host .pid 42. says 'program"):
        queue.register({"laned": JobTypeFacts(None)}, "two")
    queue.register({"laned": JobTypeFacts("program:{program_id}"), "new": JobTypeFacts("x")}, "two")


@pytest.mark.parametrize("gone", ["silent", "itself", "left"])
def test_a_lane_may_change_when_nobody_else_disagrees(queue: Queue, engine: Engine, gone: str) -> None:
    queue.report(_report("one"))
    if gone == "silent":
        _make_old(engine, 31)
    elif gone == "left":
        queue.forget("one")
    (job_id,) = queue.enqueue([NewJob("laned", 1)])
    queue.admit()
    queue.register({"laned": JobTypeFacts("all")}, "one" if gone == "itself" else "two")
    queue.admit()
    assert row(queue, job_id).lane == "all"


def test_registering_the_same_types_again_disturbs_no_job(queue: Queue) -> None:
    ids = queue.enqueue([NewJob("laned", 1), NewJob("quick", 1)])
    queue.admit()
    before = [row(queue, job_id) for job_id in ids]
    queue.register({"laned": JobTypeFacts("program:{program_id}", 9), "quick": JobTypeFacts(None)}, "two")
    assert [row(queue, job_id) for job_id in ids] == before


def test_a_changed_number_of_retries_is_for_jobs_to_come(queue: Queue) -> None:
    (old,) = queue.enqueue([NewJob("quick", 1)])
    queue.register({"quick": JobTypeFacts(None, 9)}, "test")
    (new,) = queue.enqueue([NewJob("quick", 1)])
    assert [row(queue, job_id).max_retries for job_id in (old, new)] == [3, 9]


def test_a_running_job_keeps_the_lane_it_started_in(queue: Queue) -> None:
    queue.enqueue([NewJob("laned", 1), NewJob("laned", 1)])
    (mine,) = queue.claim("t:1", ("laned",), 5)
    queue.register({"laned": JobTypeFacts("all")}, "test")
    assert row(queue, mine.id).lane == "program:1"
    assert [each.lane for each in queue.claim("t:2", ("laned",), 5)] == ["all"]
