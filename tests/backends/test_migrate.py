"""Migrations: from nothing to the present schema, under a lock, and clear words about everything else."""

from __future__ import annotations

import multiprocessing
import os
import threading

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


def test_a_migrated_database_is_what_the_tables_say(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "jobqueue_version"})
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
    with pytest.raises(SchemaMismatch, match="indexing_jobs exists and was not made by this program"):
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
