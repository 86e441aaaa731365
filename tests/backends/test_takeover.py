"""Taking over a table of jobs that another program made: nothing is lost, and what cannot be taken over is left alone."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import IntegrityError

from backends import (
    CannotTakeOver,
    JobTypeFacts,
    Migration,
    NewJob,
    Queue,
    Reading,
    SchemaMismatch,
    Status,
    check,
    head,
    migrate,
    migrate_sql,
    open_engine,
    upgrade,
)
from backends.sqlite import driver
from tests.backends.legacy_tables import ENUM, make, rows
from tests.backends.scene import foreign_engine, insert_raw
from tests.conftest import BACKENDS

KEPT = """id, program_id, user_id, job_type, folder_id, started_at, completed_at,
    error_message, "reviewed by", score, parent_id"""
on_postgres = pytest.mark.parametrize("backend", [name for name in BACKENDS if name == "postgresql"])
on_sqlite = pytest.mark.parametrize("backend", [name for name in BACKENDS if name == "sqlite"])


@pytest.fixture
def legacy(empty_database_url: str) -> Iterator[Engine]:
    """An engine on a database that is to get a legacy table."""
    engine = open_engine(empty_database_url, journal="unchanged")
    yield engine
    engine.dispose()


def comparable(engine: Engine) -> list[tuple[str, ...]]:
    """What must not change, times in the form that both tables show."""
    return [tuple(str(value)[:19] for value in row) for row in rows(engine, KEPT)]


def run(engine: Engine, *statements: str) -> None:
    """Change the database as its owner would."""
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def test_a_legacy_table_is_taken_over_and_nothing_is_lost(legacy: Engine) -> None:
    make(legacy)
    before, notes = comparable(legacy), rows(legacy, table="job_notes")
    assert migrate(legacy, batch=50) == Migration("legacy", head())
    check(legacy)
    assert comparable(legacy) == before
    assert rows(legacy, table="job_notes") == notes
    counts = Queue(legacy).counts()
    assert (counts.pending, counts.running, counts.completed, counts.failed, counts.cancelled) == (80, 0, 40, 40, 40)
    assert Counter(row[0] for row in rows(legacy, "status")) == {"pending": 80, "completed": 40, "failed": 40, "cancelled": 40}


def test_a_second_run_does_nothing(legacy: Engine) -> None:
    make(legacy)
    migrate(legacy)
    before = rows(legacy)
    assert migrate(legacy) == Migration(head(), head())
    assert migrate_sql(legacy) == ""
    assert rows(legacy) == before


def test_an_empty_database_and_an_older_one_are_brought_up_too(legacy: Engine) -> None:
    assert migrate(legacy) == Migration(None, head())
    assert migrate(legacy) == Migration(head(), head())


def test_jobs_that_were_said_to_run_wait_to_be_examined_and_run_again(legacy: Engine) -> None:
    make(legacy, rows=20)
    migrate(legacy)
    queue = Queue(legacy)
    queue.register({"full_scan": JobTypeFacts(None)}, "test")
    assert queue.admit(100) == 8
    claimed = queue.claim("tester:0001", ["full_scan"], 100)
    assert {job.id for job in claimed} == {row[0] for row in rows(legacy, "id, status") if row[1] == "running"}
    assert len(claimed) == 8


def test_keys_indexes_and_triggers_of_the_application_go_on(legacy: Engine) -> None:
    make(legacy)
    migrate(legacy)
    found = inspect(legacy)
    referred = {key["referred_table"] for key in found.get_foreign_keys("indexing_jobs")}
    assert referred == {"programs", "users", "indexing_jobs"}
    assert {key["referred_table"] for key in found.get_foreign_keys("job_notes")} == {"indexing_jobs"}
    assert {"ix_jobs_created", "ix_jobs_status"} <= {str(index["name"]) for index in found.get_indexes("indexing_jobs")}
    run(legacy, "DELETE FROM job_notes WHERE job_id = 600", "DELETE FROM indexing_jobs WHERE id = 600")
    assert rows(legacy, "job_id AS id, was", "job_log") == [(600, "full_scan")]
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        insert_raw(legacy, program_id=77, user_id=1)


def test_a_plain_insert_is_a_complete_job_afterwards_with_an_id_above_all_others(legacy: Engine) -> None:
    make(legacy, rows=20)
    migrate(legacy)
    new = Queue(legacy).get(insert_raw(legacy, program_id=1))
    assert new is not None
    assert new.id > 60
    assert (new.status, new.retry_count, new.max_retries, new.user_id, new.total_files) == ("pending", 0, 3, None, 0)
    assert (datetime.now(UTC) - new.created_at).total_seconds() < 60
    assert Queue(legacy).counts().pending == 9
    assert Queue(legacy).enqueue([NewJob("full_scan", program_id=1)])[0] > new.id


def test_times_without_a_zone_are_utc_unless_another_zone_is_named(legacy: Engine) -> None:
    make(legacy, rows=20)
    migrate(legacy, Reading(timezone="America/New_York"), batch=3)
    first = Queue(legacy).get(3)
    assert first is not None
    assert first.created_at == datetime(2024, 3, 1, 15, 1, tzinfo=UTC)
    assert first.started_at == first.created_at


def test_what_is_missing_is_made_up_where_that_is_possible(legacy: Engine) -> None:
    make(legacy, rows=20)
    migrate(legacy)
    seventh, fifth = Queue(legacy).get(21), Queue(legacy).get(15)
    assert seventh is not None
    assert seventh.created_at == seventh.started_at
    assert fifth is not None
    assert fifth.total_files == 0


def test_a_half_done_attempt_keeps_its_priorities_and_releases_its_locks(legacy: Engine) -> None:
    time_type = "DATETIME" if legacy.dialect.name == "sqlite" else "TIMESTAMP"
    make(legacy, rows=20, changes=f"""
        ALTER TABLE indexing_jobs ADD COLUMN priority INTEGER;
        ALTER TABLE indexing_jobs ADD COLUMN locked_by VARCHAR(50);
        ALTER TABLE indexing_jobs ADD COLUMN scheduled_at {time_type};
        ALTER TABLE indexing_jobs ADD COLUMN job_parameters VARCHAR(2000);
        UPDATE indexing_jobs SET priority = 5, locked_by = 'old-1', scheduled_at = '2030-01-01 00:00:00' WHERE id = 3;
        UPDATE indexing_jobs SET job_parameters = '{{"deep": true}}' WHERE id = 6;
    """)
    migrate(legacy)
    third, second = Queue(legacy).get(3), Queue(legacy).get(6)
    assert third is not None
    assert (third.priority, third.locked_by, third.status) == (5, None, "pending")
    assert third.scheduled_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert second is not None
    assert (second.priority, second.parameters) == (0, {"deep": True})


def test_everything_that_is_in_the_way_is_said_at_once_and_nothing_is_changed(legacy: Engine) -> None:
    make(legacy, rows=20, changes="""
        ALTER TABLE indexing_jobs ADD COLUMN holds_secrets INTEGER;
        ALTER TABLE indexing_jobs ADD COLUMN tenant INTEGER NOT NULL DEFAULT 1;
        CREATE TABLE indexed_files (id INTEGER PRIMARY KEY, name VARCHAR(50));
    """)
    before = rows(legacy), sorted(inspect(legacy).get_table_names())
    for attempt in (migrate, migrate_sql):
        with pytest.raises(CannotTakeOver) as refused:
            attempt(legacy)
        said = "\n".join(refused.value.problems)
        assert "column holds_secrets is one of the queue's own: rename yours" in said
        assert "a table indexed_files exists already: rename yours" in said
    assert (rows(legacy), sorted(inspect(legacy).get_table_names())) == before


def test_values_that_mean_nothing_here_are_refused_until_the_operator_says_what_they_mean(legacy: Engine) -> None:
    make(legacy, rows=20, changes="""
        ALTER TABLE indexing_jobs ADD COLUMN lane VARCHAR(20);
        UPDATE indexing_jobs SET lane = 'left' WHERE id = 3;
        UPDATE indexing_jobs SET status = 'Zombie' WHERE id = 6;
    """)
    with pytest.raises(CannotTakeOver) as refused:
        migrate(legacy)
    assert refused.value.problems == [
        "status 'Zombie' of some rows has no known meaning: say what it is, with --status 'Zombie'=failed",
        "column lane holds values, but is private to the queue: rename yours, or empty it",
    ]
    run(legacy, "UPDATE indexing_jobs SET lane = NULL")
    migrate(legacy, Reading(statuses={"zombie": Status.CANCELLED}))
    assert rows(legacy, "id, status")[1] == (6, "cancelled")


@on_postgres
def test_a_status_that_the_application_writes_meanwhile_is_kept_until_the_operator_says_what_it_means(legacy: Engine) -> None:
    make(legacy, rows=20)
    left = "INSERT INTO indexing_jobs (id, program_id, user_id, job_type, status, created_at)"
    run(legacy, "ALTER TABLE indexing_jobs DROP CONSTRAINT indexing_jobs_status_check")
    written: list[int] = []

    def write(step: str) -> None:
        number = 1001 + len(written)
        with contextlib.suppress(IntegrityError):
            run(legacy, f"{left} VALUES ({number}, 1, 1, 'full_scan', 'paused', now())")
            written.append(number)

    with pytest.raises(CannotTakeOver, match="status 'paused' of some rows has no known meaning") as refused:
        migrate(legacy, say=write)
    assert refused.value.was_begun
    assert len(written) > 2
    assert [row[0] for row in rows(legacy, "status")][-len(written):] == ["paused"] * len(written)
    with pytest.raises(CannotTakeOver):
        migrate(legacy)
    migrate(legacy, Reading(statuses={"paused": Status.FAILED}))
    assert Queue(legacy).counts().failed == 4 + len(written)


@on_sqlite
def test_a_table_and_columns_whose_names_are_written_in_another_case_are_taken_over(legacy: Engine) -> None:
    run(
        legacy,
        "CREATE TABLE Indexing_Jobs (ID INTEGER PRIMARY KEY AUTOINCREMENT, Program_Id INTEGER, Job_Type TEXT, Status TEXT, Note)",
        "CREATE INDEX ix_note ON INDEXING_JOBS (note)",
        "INSERT INTO indexing_jobs VALUES (7, 1, 'full_scan', 'running', 'kept'), (9, 1, 'full_scan', 'done', '')",
        "DELETE FROM indexing_jobs WHERE id = 9",
    )
    migrate(legacy)
    check(legacy)
    assert rows(legacy, "id, program_id, job_type, status, note") == [(7, 1, "full_scan", "pending", "kept")]
    assert Queue(legacy).enqueue([NewJob("full_scan", program_id=1)]) == [10]
    assert "ix_note" in [index["name"] for index in inspect(legacy).get_indexes("indexing_jobs")]


def test_a_dry_run_prints_the_sql_and_changes_nothing(legacy: Engine) -> None:
    make(legacy, rows=20)
    before = rows(legacy), sorted(inspect(legacy).get_table_names())
    sql = migrate_sql(legacy)
    for wanted in ("CREATE TABLE jobqueue_lanes", "jobqueue_ready", "CREATE TABLE jobqueue_users", "version_num='0002'"):
        assert wanted in sql
    assert (rows(legacy), sorted(inspect(legacy).get_table_names())) == before


def test_a_start_does_not_take_a_legacy_table_over_but_says_what_does(legacy: Engine) -> None:
    make(legacy, rows=20)
    for refused in (upgrade, check):
        with pytest.raises(SchemaMismatch, match=r"made by another program.*python migrate_job_queue\.py"):
            refused(legacy)


SHAPES = {
    "bigint identity": (
        "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
        "ALTER TABLE indexing_jobs ALTER COLUMN id SET GENERATED ALWAYS",
    ),
    "no default for the id": ("INTEGER PRIMARY KEY", ""),
    "enumerated statuses": ("SERIAL PRIMARY KEY", ENUM),
    "enumerated types": ("SERIAL PRIMARY KEY", """
        CREATE TYPE kinds AS ENUM ('full_scan', 'incremental');
        ALTER TABLE indexing_jobs ALTER COLUMN job_type TYPE kinds USING job_type::kinds;
    """),
    "parameters as JSON": ("SERIAL PRIMARY KEY", """
        ALTER TABLE indexing_jobs ADD COLUMN job_parameters JSONB DEFAULT '{}';
        CREATE INDEX ix_parameters ON indexing_jobs (job_parameters);
    """),
    "aware times": ("SERIAL PRIMARY KEY", """
        ALTER TABLE indexing_jobs DROP CONSTRAINT ends;
        ALTER TABLE indexing_jobs ALTER COLUMN created_at TYPE TIMESTAMPTZ, ALTER COLUMN started_at TYPE TIMESTAMPTZ,
            ALTER COLUMN completed_at TYPE TIMESTAMPTZ;
    """),
}


@on_postgres
@pytest.mark.parametrize("shape", SHAPES)
def test_tables_of_many_shapes_are_taken_over(legacy: Engine, shape: str) -> None:
    id_type, changes = SHAPES[shape]
    make(legacy, 50, changes, id_type)
    before = comparable(legacy)
    migrate(legacy, batch=20)
    assert sorted(comparable(legacy)) == sorted(before)
    assert Counter(row[0] for row in rows(legacy, "status")) == {"pending": 20, "completed": 10, "failed": 10, "cancelled": 10}
    (new,) = Queue(legacy).enqueue([NewJob("a type nobody had before", program_id=1, parameters={"a": 1})])
    assert new > 150
    with legacy.connect() as connection:
        unproven = "SELECT count(*) FROM pg_constraint WHERE conrelid = 'indexing_jobs'::regclass AND NOT convalidated"
        assert connection.execute(text(unproven)).scalar_one() == 0
        left = "SELECT count(*) FROM pg_class WHERE relname LIKE '%takeover%'"
        assert connection.execute(text(left)).scalar_one() == 0


@on_postgres
def test_writers_are_hardly_held_up(legacy: Engine, empty_database_url: str) -> None:
    make(legacy, rows=3000)
    other = foreign_engine(empty_database_url)
    waits: list[float] = []
    migrating = threading.Thread(target=lambda: migrate(legacy, batch=200))
    migrating.start()
    while migrating.is_alive():
        began = time.monotonic()
        insert_raw(other, program_id=1, user_id=1, status="pending", job_type="full_scan")
        waits.append(time.monotonic() - began)
    other.dispose()
    check(legacy)
    assert max(waits) < 2
    assert Queue(legacy).counts().pending == 1200 + len(waits)


@on_postgres
def test_a_view_on_a_column_that_must_change_is_named(legacy: Engine) -> None:
    make(legacy, rows=20, changes="CREATE VIEW lately AS SELECT id, created_at FROM indexing_jobs")
    with pytest.raises(CannotTakeOver, match="view lately uses column created_at, whose type must change: drop it"):
        migrate(legacy)


@on_postgres
def test_a_table_with_parts_is_refused_before_anything_is_changed(legacy: Engine) -> None:
    make(legacy, rows=20, changes="CREATE TABLE old_jobs () INHERITS (indexing_jobs)")
    with pytest.raises(CannotTakeOver, match="inherits from a table, or tables from it"):
        migrate(legacy)


@on_postgres
def test_columns_of_another_type_or_without_a_default_are_refused(legacy: Engine) -> None:
    make(legacy, rows=20, changes="""
        ALTER TABLE indexing_jobs ADD COLUMN priority VARCHAR(10);
        ALTER TABLE indexing_jobs ADD COLUMN tenant INTEGER NOT NULL DEFAULT 1;
        ALTER TABLE indexing_jobs ALTER COLUMN tenant DROP DEFAULT;
    """)
    with pytest.raises(CannotTakeOver) as refused:
        migrate(legacy)
    assert refused.value.problems == [
        "column priority is character varying(10), but must hold a whole number: rename it, or change its type",
        "column tenant must have a value and has no default, so that no other program could add a job: give it a default",
    ]


@on_postgres
def test_a_run_that_goes_on_must_read_times_as_the_interrupted_one_did(legacy: Engine) -> None:
    make(legacy, rows=20, changes="ALTER TABLE indexing_jobs ADD COLUMN jobqueue_new_created_at TIMESTAMPTZ")
    with pytest.raises(CannotTakeOver, match="an interrupted run read column created_at in another way"):
        migrate(legacy)
    migrate(legacy, Reading(timezone="America/New_York"))
    assert Queue(legacy).counts().completed == 4


@on_sqlite
def test_times_in_any_form_become_one_form(legacy: Engine) -> None:
    make(legacy, rows=20)
    run(
        legacy,
        "UPDATE indexing_jobs SET created_at = '2024-03-01T10:00:00Z' WHERE id = 3",
        "UPDATE indexing_jobs SET created_at = 1709287200 WHERE id = 6",
        "UPDATE indexing_jobs SET created_at = '2024-03-01 12:00:00+02:00' WHERE id = 9",
        "UPDATE indexing_jobs SET created_at = '2024-03-01 10:00:00' WHERE id = 12",
    )
    migrate(legacy)
    assert [row[0] for row in rows(legacy, "created_at")[:4]] == ["2024-03-01 10:00:00.000000+00:00"] * 4


@on_sqlite
def test_a_value_that_cannot_be_read_is_named_with_its_row(legacy: Engine) -> None:
    make(legacy, rows=20)
    run(legacy, "UPDATE indexing_jobs SET created_at = 'yesterday', total_files = 'many' WHERE id = 6")
    with pytest.raises(CannotTakeOver) as refused:
        migrate(legacy)
    assert refused.value.problems == [
        "column created_at must hold a time, but holds 'yesterday' (id 6): correct it",
        "column total_files must hold a whole number, but holds 'many' (id 6): correct it",
    ]


@on_sqlite
def test_a_file_that_another_program_keeps_locked_is_left_alone(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url, journal="unchanged", connect_timeout=0.3)
    make(engine, rows=20)
    other = foreign_engine(empty_database_url)
    with other.connect() as holding:
        holding.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(Exception, match="locked"):
            migrate(engine)
    migrate(engine)
    other.dispose()
    engine.dispose()


@on_sqlite
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_what_a_killed_program_left_beside_the_file_is_heeded(legacy: Engine, empty_database_url: str, journal: str) -> None:
    make(legacy, rows=2000)
    legacy.dispose()
    pid = os.fork()
    if pid == 0:
        other = driver.connect(empty_database_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute(f"PRAGMA journal_mode = {journal}")
        other.execute("PRAGMA cache_size = 1")
        other.execute("UPDATE indexing_jobs SET folder_id = 'committed'")
        other.execute("BEGIN")
        other.execute("UPDATE indexing_jobs SET folder_id = 'half done'")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert Path(f"{empty_database_url.removeprefix('sqlite:///')}-{journal.replace('delete', 'journal')}").exists()
    engine = open_engine(empty_database_url, journal="unchanged")
    migrate(engine)
    assert set(rows(engine, "folder_id")) == {("committed",)}
    engine.dispose()


@on_sqlite
def test_ids_that_were_given_once_are_not_given_again(legacy: Engine) -> None:
    run(
        legacy,
        "CREATE TABLE indexing_jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, program_id INTEGER, job_type TEXT, status TEXT)",
        "INSERT INTO indexing_jobs VALUES (7, 1, 'quick', 'done'), (900, 1, 'quick', 'done')",
        "DELETE FROM indexing_jobs WHERE id = 900",
    )
    migrate(legacy)
    assert insert_raw(legacy) == 901


@on_sqlite
def test_a_refused_file_keeps_its_journal(legacy: Engine) -> None:
    make(legacy, rows=20, changes="ALTER TABLE indexing_jobs ADD COLUMN holds_secrets INTEGER")
    with pytest.raises(CannotTakeOver):
        migrate(legacy)
    with legacy.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
