"""Rows as any program may write them: whatever stands in them is shown, and stops no other job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from backends import Queue

from .scene import insert_raw

ON_POSTGRES = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
FAR = ["infinity", "-infinity", "294000-01-01", "4713-01-01 BC", "9999-12-31 23:59:59-12", "0001-01-01 00:00:00+14"]
MOMENTS = ("created_at", "started_at", "completed_at", "scheduled_at", "locked_at", "cancel_requested_at")


def look_at(queue: Queue, job_id: int) -> list[str]:
    """Every way of reading a job, and what is said of why it waits."""
    view = queue.get(job_id)
    assert view is not None
    view.as_dict()
    local = timedelta(hours=14)
    assert all(moment - local and moment + local for moment in (view.created_at, view.completed_at) if moment)
    assert job_id in {each.id for each in queue.page().jobs}
    queue.counts()
    queue.attempts(job_id)
    queue.measures(30.0)
    return queue.why(job_id) or []


@ON_POSTGRES
@pytest.mark.parametrize("written", FAR)
def test_a_time_beyond_every_calendar_is_shown_as_the_nearest_that_there_is(
    queue: Queue, engine: Engine, written: str
) -> None:
    finished = insert_raw(engine, status="completed", **dict.fromkeys(MOMENTS, written))
    times = dict.fromkeys(("created_at", "scheduled_at", "started_at"), written)
    waiting = insert_raw(engine, **times, examined=True, waits_for="time")
    for job_id in (finished, waiting):
        assert look_at(queue, job_id)
    nearest = datetime(1, 1, 2, tzinfo=UTC) if "BC" in written or written[0] in "-0" else datetime(9999, 12, 30, tzinfo=UTC)
    view = queue.get(finished)
    assert view is not None
    assert {getattr(view, name) for name in MOMENTS} == {nearest}
