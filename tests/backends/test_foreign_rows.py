"""Rows as any program may write them: whatever stands in them is shown, and stops no other job."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from itertools import cycle
from random import Random

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from backends import FINAL, JobTypeFacts, Kind, Outcome, Queue, open_engine, recount, upgrade
from backends.inspection import stale_leases
from backends.migrate import upgrade_within

from .hostile import hostile_values, insert_sql, without_guard
from .scene import DONE, insert_raw, row

ON_POSTGRES = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
ON_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
FAR = ["infinity", "-infinity", "294000-01-01", "4713-01-01 BC", "9999-12-31 23:59:59-12", "0001-01-01 00:00:00+14"]
MOMENTS = ("created_at", "started_at", "completed_at", "scheduled_at", "locked_at", "cancel_requested_at")


def look_at(queue: Queue, *job_ids: int) -> None:
    """Every way of reading jobs, and what is said of why they wait."""

    def look(connection: Connection) -> None:
        for job_id in job_ids:
            view = queue.get(job_id, connection=connection)
            assert view is not None
            json.dumps(view.as_dict(), allow_nan=False)
            moments = [value for value in astuple(view) if isinstance(value, datetime)]
            assert all(moment - timedelta(hours=14) and moment + timedelta(hours=14) for moment in moments)
            assert queue.why(job_id, connection=connection)
            for attempt in queue.attempts(job_id, connection=connection):
                json.dumps(attempt.as_dict(), allow_nan=False)

    queue.read(look)
    shown = queue.page(limit=5000).jobs
    assert set(job_ids) <= {each.id for each in shown}
    for program_id, status in {(each.program_id, each.status) for each in shown}:
        queue.page(program_id, status)
    queue.counts()
    queue.counts(1)
    queue.measures(30.0)
    queue.read(lambda connection: stale_leases(connection, 30.0))


@ON_POSTGRES
@pytest.mark.parametrize("written", FAR)
def test_a_time_beyond_every_calendar_is_shown_as_the_nearest_that_there_is(
    queue: Queue, engine: Engine, written: str
) -> None:
    finished = insert_raw(engine, status="completed", **dict.fromkeys(MOMENTS, written))
    times = dict.fromkeys(("created_at", "scheduled_at", "started_at"), written)
    waiting = insert_raw(engine, **times, examined=True, waits_for="time")
    look_at(queue, finished, waiting)
    nearest = datetime(1, 1, 2, tzinfo=UTC) if "BC" in written or written[0] in "-0" else datetime(9999, 12, 30, tzinfo=UTC)
    view = queue.get(finished)
    assert view is not None
    assert {getattr(view, name) for name in MOMENTS} == {nearest}


def live_with(queue: Queue, job_ids: Sequence[int]) -> None:
    """All that anybody does with jobs, beside these, and with these."""
    look_at(queue, *job_ids)
    other = insert_raw(queue.engine)
    queue.admit(1000)
    claimed = {each.id: each for each in queue.claim("t:1", ("quick", "laned"), 1000)}
    assert other in claimed
    assert all(isinstance(value, int | str | bool | datetime | None) for each in claimed.values() for value in each)
    assert all(each.waited >= 0.0 for each in claimed.values())
    look_at(queue, *job_ids)
    assert len(queue.heartbeat(["t:1"])) == len(claimed)
    failure = Outcome(Kind.FAILED, "it did not work")
    assert queue.settle("t:1", [(each, DONE if each.id == other else failure) for each in claimed.values()]) == []
    assert row(queue, other).status == "completed"
    queue.reset_stuck(1, 30.0)
    queue.reclaim_expired(30.0)
    look_at(queue, *job_ids)
    for change in (queue.cancel, queue.retry):
        with queue.engine.begin() as connection:
            answers = [change(job_id, connection=connection) for job_id in job_ids]
        assert "missing" not in answers
        look_at(queue, *job_ids)
        queue.admit(1000)
    keep_house(queue)


def keep_house(queue: Queue) -> None:
    """What maintenance does, until nothing is left of what is finished."""
    queue.next_due()
    recount(queue.engine)
    while queue.fold_counts():
        pass
    counted = queue.counts()
    assert counted.pending == len(queue.page(status="pending", limit=5000).jobs)
    with queue.engine.begin() as connection:
        for job in queue.page(status="pending", limit=5000).jobs:
            queue.cancel(job.id, connection=connection)
    queue.prune(dict.fromkeys(FINAL, 0.0), 5000)


AS_THEY_ARE = ", ".join(f"hex({name}), typeof({name})" for name in hostile_values("sqlite"))

GIVEN: dict[str, dict[str, str]] = {
    "pending": {},
    "ready": {"ready_at": "'2026-01-01 00:00:00.000000+00:00'"},
    "running": {"status": "'running'", "locked_by": "'gone:1'"},
    "failed": {"status": "'failed'"},
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_whatever_stands_in_a_row_is_shown_and_stops_no_other(
    queue: Queue, engine: Engine, backend: str, given: dict[str, str]
) -> None:
    without_guard(engine)
    values = [(name, value) for name, choice in hostile_values(backend).items() for value in choice]
    with engine.begin() as connection:
        job_ids = [insert_sql(connection, given | {name: value}) for name, value in values]
    live_with(queue, job_ids)


REFUSED = {
    "priority": ("'high'", "1.5", "9e999", "2147483648", "x'ff'"),
    "program_id": ("''", "'7 of 9'"),
    "retry_count": ("'many'",),
    "job_type": ("x'717569636b'",),
    "folder_id": ("x'ff'",),
    "created_at": ("x'ff'",),
}


@ON_SQLITE
@pytest.mark.parametrize("name", REFUSED)
def test_a_value_of_the_wrong_type_is_refused_with_the_name_of_its_column(queue: Queue, engine: Engine, name: str) -> None:
    for value in REFUSED[name]:
        with pytest.raises(IntegrityError, match=f"jobqueue: {name} must be (a whole number from|text, not a BLOB)"):
            insert_sql(engine, {name: value})
    assert queue.page().jobs == []


@ON_SQLITE
@pytest.mark.parametrize("name", ["priority", "job_type"])
def test_a_job_is_not_given_a_value_of_the_wrong_type_later(queue: Queue, engine: Engine, name: str) -> None:
    job_id = insert_raw(engine)
    with pytest.raises(IntegrityError, match=f"jobqueue: {name} must be"), engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE indexing_jobs SET {name} = x'00' WHERE id = {job_id}")
    assert queue.admit() == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_row_full_of_such_values_is_refused_or_lived_with(queue: Queue, engine: Engine, backend: str, seed: int) -> None:
    chance = Random(seed)
    values = hostile_values(backend)
    job_ids, refusals = [], set()
    for _ in range(60):
        strange = {name: chance.choice(choice) for name, choice in values.items() if chance.random() < 0.1}
        status = chance.choice(list(GIVEN.values()))
        try:
            job_ids.append(insert_sql(engine, {**status, **strange}))
        except DBAPIError as error:
            refusals.add(str(error.orig))
    assert len(job_ids) > 5
    assert all(re.match("jobqueue: \\w+ must be |.*violates unique|UNIQUE constraint", each) for each in refusals), refusals
    live_with(queue, job_ids)


@ON_SQLITE
def test_an_older_database_keeps_such_rows(empty_database_url: str, backend: str) -> None:
    engine = open_engine(empty_database_url)
    with engine.begin() as connection:
        upgrade_within(connection, to="0001")
        strange = [(name, value) for name, choice in hostile_values(backend).items() for value in choice]
        job_ids = [
            insert_sql(connection, given | {name: value}) for given, (name, value) in zip(cycle(GIVEN.values()), strange)
        ]
        before = connection.exec_driver_sql(f"SELECT {AS_THEY_ARE} FROM indexing_jobs ORDER BY id").all()
    assert upgrade(engine).before == "0001"
    queue = Queue(engine, random=Random(1))
    queue.register({"quick": JobTypeFacts(None), "laned": JobTypeFacts("program:{program_id}")}, "test")
    with engine.connect() as connection:
        assert connection.exec_driver_sql(f"SELECT {AS_THEY_ARE} FROM indexing_jobs ORDER BY id").all() == before
    live_with(queue, job_ids)
    engine.dispose()
