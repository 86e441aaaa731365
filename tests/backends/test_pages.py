"""Pages: jobs newest first, whatever the filters, each once; the first page costs the same however long the history is."""

from __future__ import annotations

import re
from functools import partial
from itertools import product
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine, text

from backends import EVERYTHING, Queue, Role, Scope, Status
from tests.backends.scene import analyze, insert_many, member, plans, time_text

STATUSES = [status.value for status in Status]


def _fill(engine: Engine, number: int, program_id: str = "1", status: str = "completed", job_type: str = "'quick'") -> None:
    values = {"program_id": program_id, "job_type": job_type, "status": f"'{status}'"}
    if status == "running":
        values |= {"locked_by": "'somebody'", "locked_at": time_text(engine, 1)}
    insert_many(engine, number, **values)


def _mixed(engine: Engine) -> None:
    chance = Random(1)
    for _ in range(60):
        _fill(engine, chance.randint(1, 6), f"n % {chance.randint(1, 3)}", chance.choice(STATUSES), f"'type ' || (n % {2})")


def _walk(queue: Queue, limit: int, **filters: Any) -> list[int]:
    ids: list[int] = []
    before = None
    while True:
        page = queue.page(limit=limit, before=before, **filters)
        assert len(page.jobs) <= limit
        ids += [each.id for each in page.jobs]
        before = page.next_before
        if before is None:
            return ids


def _expected(engine: Engine, **filters: Any) -> list[int]:
    where = " AND ".join(f"{name} = :{name}" for name in filters) or "1 = 1"
    with engine.connect() as connection:
        statement = text(f"SELECT id FROM indexing_jobs WHERE {where} ORDER BY id DESC")
        return list(connection.execute(statement, filters).scalars())


@pytest.mark.parametrize("examined", [10_000, 7])
def test_every_job_is_listed_once_newest_first_whatever_the_filters(
    queue: Queue, engine: Engine, monkeypatch: pytest.MonkeyPatch, examined: int
) -> None:
    monkeypatch.setattr("backends.pages.EXAMINED_AT_MOST", examined)
    _mixed(engine)
    for program in ({}, {"program_id": 1}, {"program_id": 9}):
        for status in ({}, *({"status": status} for status in STATUSES)):
            for job_type in ({}, {"job_type": "type 1"}):
                filters: dict[str, Any] = {**program, **status, **job_type}
                for limit in (20, 300):
                    assert _walk(queue, limit, **filters) == _expected(engine, **filters), filters


def test_a_page_that_fits_exactly_is_the_last(queue: Queue, engine: Engine) -> None:
    _fill(engine, 4)
    assert queue.page(1, limit=4).next_before is None
    assert queue.page(1, limit=3).next_before == 2


def test_only_what_is_in_the_scope_is_listed_and_counted(queue: Queue, engine: Engine) -> None:
    _mixed(engine)
    scope = member(engine, 1)
    assert _walk(queue, 7, scope=scope) == _walk(queue, 7, program_id=1, scope=scope) == _expected(engine, program_id=1)
    assert _walk(queue, 7, status="running", scope=scope) == _expected(engine, program_id=1, status="running")
    assert queue.counts(scope=scope) == queue.counts(1, scope) == queue.counts(1)
    oldest = queue.counts(scope=scope).oldest_pending
    assert oldest is not None
    assert oldest.id == _expected(engine, program_id=1, status="pending")[-1]
    for stranger in (member(engine), member(engine, 1, wanted=Role.ADMIN), Scope(99)):
        assert _walk(queue, 7, scope=stranger) == _walk(queue, 7, program_id=1, scope=stranger) == []
        assert _walk(queue, 7, program_id=1, status="pending", scope=stranger) == []
        nothing = queue.counts(1, stranger)
        assert (nothing.pending, nothing.running, nothing.completed, nothing.oldest_pending) == (0, 0, 0, None)


def _tell(engine: Engine, story: str, size: int) -> None:
    """Program 1 has a long history, and program 2 only jobs from before it; `story` is when the planner last looked."""
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE indexing_jobs SET (autovacuum_enabled = off)"))
    for status in STATUSES:
        _fill(engine, 100, "2", status)
    if story == "when the program was new":
        analyze(engine)
    _fill(engine, size, "1", "pending")
    if story == "when all was pending":
        analyze(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE indexing_jobs SET status = 'completed' WHERE program_id = 1"))
    for status in STATUSES:
        _fill(engine, 30, "1", status)
    if story == "now":
        analyze(engine)


INDEXES = {None: "of_program", "pending": "listed_pending", "failed": "failed", "cancelled": "cancelled", "running": "running"}


@pytest.mark.parametrize("story", ["now", "when all was pending", "when the program was new", "never"])
@pytest.mark.parametrize("size", [500, 20_000])
def test_first_pages_and_the_oldest_are_found_in_their_index_whatever_the_planner_believes(
    queue: Queue, engine: Engine, story: str, size: int
) -> None:
    _tell(engine, story, size)
    for scope, program_id in product((EVERYTHING, member(engine, 1, 2)), (1, 2)):
        for status, index in INDEXES.items():
            (plan,) = plans(engine, "FROM indexing_jobs", partial(queue.page, program_id, status, scope=scope))
            _see_only(f"jobqueue_{index}", plan, sorts=status == "running")
        (plan,) = plans(engine, "FROM indexing_jobs", partial(queue.page, program_id, before=300, scope=scope))
        _see_only("jobqueue_of_program", plan)
        for wanted in (None, program_id):
            *_, plan = plans(engine, "FROM indexing_jobs", partial(queue.counts, wanted, scope))
            _see_only("jobqueue_listed_pending", plan)


@pytest.mark.parametrize("story", ["now", "when all was pending", "when the program was new", "never"])
def test_filters_that_no_index_serves_look_at_so_many_rows_and_no_more(queue: Queue, engine: Engine, story: str) -> None:
    _tell(engine, story, 20_000)
    for filters in ({"status": "completed"}, {"job_type": "novel"}):
        found = plans(engine, "FROM indexing_jobs", partial(queue.page, 1, **filters))
        assert len(found) == 2
        for plan in found:
            _see_only("jobqueue_of_program", plan)
    nothing = queue.page(1, job_type="novel")
    assert nothing.jobs == []
    assert nothing.next_before == queue.page(1, limit=10_000).jobs[-1].id


def _see_only(index: str, plan: str, sorts: bool = False) -> None:
    """It walks along that index; the rest of the queue is read by primary key, if at all, and nothing is sorted."""
    used = set(re.findall(r"(?:using|INDEX|Index Scan on|Seq Scan on) (jobqueue_\w+|indexing_jobs\w*)", plan))
    assert index in used, plan
    assert used <= {index, "indexing_jobs_pkey", "jobqueue_users_pkey", "jobqueue_users", "jobqueue_memberships_pkey",
                    "jobqueue_memberships"}, plan
    assert "indexing_jobs_pkey" not in used or "Index Cond: (id = " in plan, plan
    assert not re.search(r"SCAN indexing_jobs$", plan, re.MULTILINE), plan
    assert sorts or not re.search(r"Sort|TEMP B-TREE", plan), plan
