"""Secrets in jobs that are older than the table of secrets: taken out of a database of the first schema, whatever the jobs do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from backends import JobTypeFacts, Owner, Queue, add_key, open_engine, read_secret, upgrade
from backends.migrate import upgrade_within
from tests.backends.scene import claim_one, insert_raw, row

TOKEN = "ya29.the-old-one"
PARAMETERS = f'{{"access_token": "{TOKEN}", "page_token": "7"}}'


@pytest.fixture
def old(empty_database_url: str, tmp_path: Path) -> Iterator[Engine]:
    """A database of the first schema, with a key file named that is not there yet."""
    engine = open_engine(empty_database_url, key_file=tmp_path / "keys")
    with engine.begin() as connection:
        upgrade_within(connection, to="0001")
    Queue(engine).register({"quick": JobTypeFacts(None)}, "test")
    yield engine
    engine.dispose()


def jobs_of_all_kinds(engine: Engine) -> dict[str, int]:
    """Jobs that admission of that schema had seen, each with a secret; and one without."""
    kinds = {
        "ready": "ready_at = created_at", "waiting": "waits_for = 'lane', lane = 'program:1'", "raw": "lane = NULL",
        "running": "status = 'running', locked_by = 'worker:1', locked_at = created_at, lease = 1",
        **{status: f"status = '{status}', completed_at = created_at" for status in ("completed", "failed", "cancelled")},
    }
    ids = {kind: insert_raw(engine, job_type="quick", job_parameters=PARAMETERS) for kind in kinds}
    ids["harmless"] = insert_raw(engine, job_type="quick", job_parameters='{"page_token": "7"}')
    with engine.begin() as connection:
        for kind, change in kinds.items():
            connection.execute(text(f"UPDATE indexing_jobs SET {change} WHERE id = {ids[kind]}"))
    return ids


def walk(queue: Queue, batch: int) -> int:
    """Walk to the end; returns how many jobs were looked at."""
    looked_at = 0
    while number := queue.take_old_secrets(batch):
        looked_at += number
    return looked_at


@pytest.mark.parametrize("batch", [3, 500])
def test_every_old_job_loses_its_secret_and_those_that_are_not_over_find_it(old: Engine, tmp_path: Path, batch: int) -> None:
    ids = jobs_of_all_kinds(old)
    upgrade(old)
    add_key(tmp_path / "keys")
    queue = Queue(old)
    young = insert_raw(old)
    assert walk(queue, batch) == len(ids)
    assert walk(queue, batch) == 0
    rows = {kind: row(queue, job_id) for kind, job_id in ids.items()}
    assert TOKEN not in str(rows)
    assert all('"page_token": "7"' in each.job_parameters for each in rows.values())
    assert {kind: each.holds_secrets for kind, each in rows.items()} == {
        "ready": True, "waiting": True, "raw": True, "running": True, "completed": False, "failed": False,
        "cancelled": False, "harmless": None,
    }
    assert (rows["ready"].ready_at is None, rows["waiting"].lane, rows["running"].status) == (False, "program:1", "running")
    assert row(queue, young).holds_secrets is None
    assert claim_one(queue).id == ids["ready"]
    with old.connect() as connection:
        for kind in ("ready", "waiting", "raw", "running"):
            assert read_secret(connection, Owner.JOB, ids[kind], "access_token") == TOKEN


def test_without_a_key_what_is_over_is_masked_and_the_rest_is_come_back_to(old: Engine, tmp_path: Path) -> None:
    ids = jobs_of_all_kinds(old)
    upgrade(old)
    queue = Queue(old)
    for _ in range(2):
        walk(queue, 2)
        assert {kind for kind, job_id in ids.items() if TOKEN in str(row(queue, job_id))} == {
            "ready", "waiting", "raw", "running"
        }
    add_key(tmp_path / "keys")
    assert walk(queue, 2)
    assert all(TOKEN not in str(row(queue, job_id)) for job_id in ids.values())
    assert walk(queue, 2) == 0


def test_large_parameters_are_searched_a_few_at_a_time(old: Engine, tmp_path: Path) -> None:
    large = f'{{"access_token": "{TOKEN}", "key": "{"x" * 900_000}"}}'
    ids = [insert_raw(old, job_type="quick", job_parameters=large) for _ in range(5)]
    upgrade(old)
    add_key(tmp_path / "keys")
    queue = Queue(old)
    assert [queue.take_old_secrets(500) for _ in range(4)] == [2, 2, 1, 0]
    assert all(TOKEN not in row(queue, job_id).job_parameters for job_id in ids)


def test_a_new_database_has_nothing_old(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    upgrade(engine)
    insert_raw(engine, job_parameters=PARAMETERS)
    assert Queue(engine).take_old_secrets() == 0
    engine.dispose()
