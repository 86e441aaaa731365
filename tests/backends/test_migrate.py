"""Migrations: from nothing to the present schema, under a lock, and clear words about everything else."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from backends import (
    Queue,
    SchemaMismatch,
    check,
    current,
    head,
    metadata,
    open_engine,
    upgrade,
    upgrade_sql,
)
from backends.migrate import upgrade_within
from tests.backends.scene import insert_raw
from tests.conftest import BACKENDS


def is_a_plain_table(name: str | None, kind: str, parents: object) -> bool:
    """Each database has a full-text index of its own kind, which is none of the tables that are the same on both."""
    return not (kind == "table" and (name or "").startswith("jobqueue_search"))


def test_a_migrated_database_is_what_the_tables_say(engine: Engine) -> None:
    with engine.connect() as connection:
        opts = {"version_table": "jobqueue_version", "include_name": is_a_plain_table}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, metadata) == []


def test_an_empty_database_is_created_and_a_second_upgrade_does_nothing(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    assert current(engine) is None
    first, second = upgrade(engine), upgrade(engine)
    assert first.created
    assert (second.before, second.after) == (head(), head())
    check(engine)
    engine.dispose()


def _upgrade_and_exit(url: str) -> None:
    engine = open_engine(url, connect_timeout=30)
    upgrade(engine)
    os._exit(0)


def test_ten_processes_may_upgrade_at_once(empty_database_url: str) -> None:
    context = multiprocessing.get_context("fork")
    upgraders = [context.Process(target=_upgrade_and_exit, args=(empty_database_url,)) for _ in range(10)]
    for upgrader in upgraders:
        upgrader.start()
    for upgrader in upgraders:
        upgrader.join()
    assert [upgrader.exitcode for upgrader in upgraders] == [0] * 10
    engine = open_engine(empty_database_url)
    check(engine)
    engine.dispose()


def test_a_missing_schema_is_named_with_the_command_that_makes_it(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    with pytest.raises(SchemaMismatch, match=r"no tables of ours.*supervisor db upgrade"):
        check(engine)
    engine.dispose()


def test_a_newer_schema_is_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobqueue_version SET version_num = '9999'"))
    for refused in (check, upgrade):
        with pytest.raises(SchemaMismatch, match=r"schema is at 9999, newer than this release .* Upgrade the package"):
            refused(engine)


def test_a_strangers_table_is_left_alone(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE indexing_jobs (id INTEGER PRIMARY KEY)"))
    with pytest.raises(SchemaMismatch, match="indexing_jobs was made by another program"):
        upgrade(engine)
    engine.dispose()


def test_a_dry_run_prints_the_sql_and_changes_nothing(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    sql = upgrade_sql(engine)
    assert "CREATE TABLE indexing_jobs" in sql
    assert "TRIGGER jobqueue_inserted" in sql
    assert current(engine) is None
    engine.dispose()


def test_a_plain_insert_is_a_complete_job(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO indexing_jobs (program_id, user_id, job_type, folder_id, priority, job_parameters)"
                " VALUES (1, 2, 'full_scan', 'f', 3, '{}')"
            )
        )
    job = Queue(engine).page().jobs[0]
    assert (job.status, job.retry_count, job.max_retries, job.priority, job.locked_by) == ("pending", 0, 3, 3, None)
    assert job.created_at.tzinfo is not None
    assert Queue(engine).counts().pending == 1


def test_an_upgrade_waits_for_anothers_however_long_that_takes(empty_database_url: str) -> None:
    engine, other = open_engine(empty_database_url), open_engine(empty_database_url)
    with other.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(1785684593)"))
        finished: list[bool] = []
        upgrading = threading.Thread(target=lambda: finished.append(upgrade(engine).created))
        upgrading.start()
        upgrading.join(2.5)  # longer than a statement waits for a lock otherwise
        assert upgrading.is_alive()
    upgrading.join(30)
    assert finished == [True]
    engine.dispose()
    other.dispose()


def _older(url: str) -> Engine:
    """A database at the first schema, with a job in it."""
    engine = open_engine(url)
    with engine.begin() as connection:
        upgrade_within(connection, to="0001")
    insert_raw(engine)
    return engine


def test_an_older_database_is_brought_up_and_keeps_its_jobs(empty_database_url: str) -> None:
    engine = _older(empty_database_url)
    with pytest.raises(SchemaMismatch, match="schema is at 0001, this release needs"):
        check(engine)
    assert upgrade(engine).before == "0001"
    check(engine)
    assert [job.id for job in Queue(engine).page().jobs] == [1]
    engine.dispose()


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name == "postgresql"])
def test_an_upgrade_makes_an_index_again_that_an_interruption_left_unusable(empty_database_url: str) -> None:
    engine = _older(empty_database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE INDEX jobqueue_listed_pending ON indexing_jobs (program_id, id)"))
        connection.execute(text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'jobqueue_listed_pending'::regclass"))
    upgrade(engine)
    with engine.connect() as connection:
        valid = text("SELECT bool_and(indisvalid) FROM pg_index WHERE indrelid = 'indexing_jobs'::regclass")
        assert connection.execute(valid).scalar_one() is True
    engine.dispose()


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name == "postgresql"])
def test_an_upgrade_that_meets_a_long_transaction_lets_the_others_through(empty_database_url: str) -> None:
    engine, reader = _older(empty_database_url), open_engine(empty_database_url)
    with reader.connect() as reading:
        reading.execute(text("SELECT count(*) FROM indexing_jobs"))
        upgrading = threading.Thread(target=lambda: upgrade(engine))
        upgrading.start()
        until = time.monotonic() + 3
        waits = []
        while time.monotonic() < until:
            waits.append(_seconds_to_insert(reader))
        assert upgrading.is_alive()
    upgrading.join(30)
    check(engine)
    assert max(waits) < 1.5  # a queue for a moment, not until the reader is done
    engine.dispose()
    reader.dispose()


def _seconds_to_insert(engine: Engine) -> float:
    began = time.monotonic()
    insert_raw(engine)
    return time.monotonic() - began


def test_a_dry_run_of_an_older_database_prints_only_what_is_missing(empty_database_url: str) -> None:
    engine = _older(empty_database_url)
    sql = upgrade_sql(engine)
    assert "CREATE TABLE indexing_jobs" not in sql
    assert "jobqueue_listed_pending" in sql
    assert ("CONCURRENTLY IF NOT EXISTS jobqueue_listed_pending" in sql) == (engine.dialect.name == "postgresql")
    assert current(engine) == "0001"
    engine.dispose()
