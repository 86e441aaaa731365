"""Why: says in sentences exactly what a job waits for."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from backends import Kind, NewJob, Outcome, Queue, RetryPolicy, SupervisorReport
from tests.backends.scene import DONE, claim_one, insert_raw, running


@pytest.fixture
def served(queue: Queue) -> Queue:
    """A queue that a living supervisor serves."""
    types = dict.fromkeys(("quick", "laned", "also_laned"))
    queue.report(SupervisorReport("one", "host", 1, datetime.now(UTC), types))
    return queue


def _first(queue: Queue, job_id: int) -> str:
    return (queue.why(job_id) or [""])[0]


def test_there_is_no_reason_for_a_job_that_is_not_there(served: Queue) -> None:
    assert served.why(12345) is None


def test_a_ready_job_is_told_how_many_are_ahead_of_it(served: Queue) -> None:
    served.enqueue([NewJob("quick", 1, priority=1) for _ in range(3)])
    (job_id,) = served.enqueue([NewJob("quick", 1)])
    served.enqueue([NewJob("quick", 1)])
    assert served.why(job_id) == ["ready; 3 jobs ahead of it"]


def test_counting_those_ahead_stops_at_a_thousand(served: Queue) -> None:
    served.enqueue([NewJob("quick", 1) for _ in range(1005)])
    (job_id,) = served.enqueue([NewJob("quick", 1)])
    assert served.why(job_id) == ["ready; 1000 or more jobs ahead of it"]


def test_a_job_due_later_is_told_when(served: Queue) -> None:
    (job_id,) = served.enqueue([NewJob("quick", 1, scheduled_at=datetime.now(UTC) + timedelta(minutes=10))])
    served.admit()
    sentence = _first(served, job_id)
    assert re.fullmatch(r"due at 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", sentence)


def test_a_job_behind_its_lane_is_told_who_holds_it(served: Queue) -> None:
    head, behind = served.enqueue([NewJob("laned", 1), NewJob("laned", 1)])
    served.admit()
    assert _first(served, behind) == f"waits for lane 'program:1': job {head} is pending"
    claim_one(served)
    assert _first(served, behind).startswith(f"waits for lane 'program:1': job {head} runs since 20")


def test_a_job_nobody_looked_at_says_so(served: Queue, engine: Engine) -> None:
    assert _first(served, insert_raw(engine)).startswith("not yet examined; maintenance")


def test_a_type_nobody_knows_is_named(served: Queue, engine: Engine) -> None:
    job_id, endless = insert_raw(engine, job_type="novel"), insert_raw(engine, job_type="n" * 600)
    served.admit()
    assert served.why(job_id) == ["no supervisor has ever served job type 'novel'; add it to job_types in jobqueue.yaml"]
    assert _first(served, endless) == "its job type's name is longer than 500 characters, which no handler has"


def test_a_known_type_that_nobody_serves_now_is_told_so(served: Queue) -> None:
    (job_id,) = served.enqueue([NewJob("other", 1)])
    assert served.why(job_id) == ["ready; 0 jobs ahead of it", "no running supervisor serves job type 'other'"]


def test_without_any_supervisor_the_command_to_start_one_is_named(queue: Queue) -> None:
    (job_id,) = queue.enqueue([NewJob("quick", 1)])
    assert (queue.why(job_id) or [])[-1] == "no supervisor is running: supervisor start"


def test_a_retry_says_what_went_wrong_before(served: Queue) -> None:
    slow = Queue(served.engine, {"quick": RetryPolicy(initial=500, jitter="none")})
    mine = running(slow)
    slow.settle("tester:0001", [(mine, Outcome(Kind.FAILED, "ValueError: no"))])
    assert (served.why(mine.id) or [])[1:] == ["retry 1 of 3, after: ValueError: no"]


def test_a_running_job_says_where_and_that_it_was_asked_to_stop(served: Queue) -> None:
    mine = running(served)
    assert len(served.why(mine.id) or []) == 1
    assert "under tester:0001, lease renewed at 20" in _first(served, mine.id)
    served.cancel(mine.id)
    assert (served.why(mine.id) or [])[1].startswith("asked to stop at 20")


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (DONE, "completed at 20"),
        (Outcome(Kind.GAVE_UP, "no such folder"), "failed at 20"),
        (Outcome(Kind.CANCELLED), "cancelled at 20"),
    ],
)
def test_a_finished_job_says_how_it_ended(served: Queue, outcome: Outcome, said: str) -> None:
    mine = running(served)
    served.settle("tester:0001", [(mine, outcome)])
    (sentence,) = served.why(mine.id) or []
    assert sentence.startswith(said)
    assert sentence.endswith(outcome.reason or sentence[-1])
