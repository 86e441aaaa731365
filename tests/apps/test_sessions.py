"""Which Sessions IndexingService works in, which it refuses, and how it leaves them after an error."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from apps.indexing_service import IndexingService
from backends import (
    BadParameters,
    DatabaseUnavailable,
    IndexingJob,
    NewJob,
    Queue,
    SchemaMismatch,
    UnusableSession,
    open_engine,
)
from tests.apps.application import Base, Team, create, jobs_in


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_a_key_that_another_transaction_holds_is_no_answer_in_time_and_the_session_goes_on(
    engine: Engine, database_url: str, driver: str
) -> None:
    Base.metadata.create_all(engine)
    own = create_engine(database_url.replace("postgresql://", f"postgresql+{driver}://"))
    with Session(engine) as rival, Session(own) as db:
        create(rival, unique_key="nightly")
        db.add(Team(name="docs"))
        db.execute(text("SET LOCAL lock_timeout = '100ms'"))
        with pytest.raises(DatabaseUnavailable):
            create(db, unique_key="nightly")
        create(db, unique_key="weekly")
        db.commit()
        assert list(db.scalars(select(IndexingJob.unique_key))) == ["weekly"]
        assert db.scalars(select(Team.name)).all() == ["docs"]
    own.dispose()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_a_session_whose_connection_was_lost_goes_on_after_a_rollback(engine: Engine, database_url: str, driver: str) -> None:
    own = create_engine(database_url.replace("postgresql://", f"postgresql+{driver}://"))
    with Session(own) as db:
        create(db)
        with engine.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": db.scalar(text("SELECT pg_backend_pid()"))})
        with pytest.raises(DatabaseUnavailable):
            create(db)
        db.rollback()
        create(db)
        db.commit()
    own.dispose()
    assert jobs_in(engine) == 1


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_a_server_that_is_not_there_is_said_to_be_unavailable(driver: str) -> None:
    nowhere = create_engine(f"postgresql+{driver}://nobody@127.0.0.1:1/nothing")
    with Session(nowhere) as db:
        for ask in (lambda: create(db), lambda: IndexingService(db).get_queue_status(), lambda: IndexingService(db).get_job(1)):
            with pytest.raises(DatabaseUnavailable):
                ask()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_turn_to_write_that_does_not_come_is_no_answer_in_time(db: Session, database_url: str) -> None:
    create(db)
    impatient = open_engine(database_url, connect_timeout=0.1)
    with Session(impatient) as other:
        with pytest.raises(DatabaseUnavailable):
            create(other)
        db.commit()
        other.rollback()
        create(other)
        other.commit()
    impatient.dispose()


def test_a_database_without_the_queues_tables_says_how_to_make_them(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    Base.metadata.create_all(engine)
    with Session(engine) as db:
        db.add(Team(name="docs"))
        with pytest.raises(SchemaMismatch, match=r"migrate_job_queue\.py"):
            create(db)
        db.commit()
        assert db.scalars(select(Team.name)).all() == ["docs"]
    engine.dispose()


def test_a_sqlite_engine_made_otherwise_is_refused_before_it_is_connected(tmp_path: Path) -> None:
    file = tmp_path / "own.db"
    with Session(create_engine(f"sqlite:///{file}")) as db, pytest.raises(UnusableSession, match="open_engine"):
        IndexingService(db)
    assert not file.exists()


def test_an_engine_with_execution_options_is_still_ours(engine: Engine) -> None:
    with Session(engine.execution_options(isolation_note="mine")) as db:
        assert create(db).id


def test_a_session_bound_to_a_connection_will_do(engine: Engine) -> None:
    with engine.connect() as connection, connection.begin() as whole:
        with Session(connection, join_transaction_mode="create_savepoint") as db:
            assert create(db).status == "pending"
            db.commit()
        whole.rollback()
    assert jobs_in(engine) == 0


def test_a_session_that_knows_only_its_own_tables_is_told_to_bind_the_job(engine: Engine) -> None:
    with Session(binds={Base: engine}) as db, pytest.raises(UnusableSession, match="IndexingJob: engine"):
        IndexingService(db)
    with Session(binds={Base: engine, IndexingJob: engine}) as db:
        assert create(db).id


def test_a_session_that_only_reads_creates_nothing(engine: Engine) -> None:
    with Session(engine.execution_options(jobqueue_read=True)) as db, pytest.raises(UnusableSession, match="reads only"):
        create(db)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_connection_that_commits_by_itself_is_refused(engine: Engine) -> None:
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with Session(autocommit) as db, pytest.raises(UnusableSession, match="AUTOCOMMIT"):
        create(db)
    assert jobs_in(engine) == 0


def test_an_async_session_is_told_of_run_sync() -> None:
    with pytest.raises(UnusableSession, match="run_sync"):
        IndexingService(AsyncSession())  # type: ignore[arg-type]
    with pytest.raises(UnusableSession, match="not str"):
        IndexingService("sqlite:///jobqueue.db")  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_an_async_session_creates_jobs_as_it_is_told(database_url: str, engine: Engine) -> None:
    async def create_one() -> int:
        own = create_async_engine(database_url.replace("postgresql://", "postgresql+psycopg_async://"))
        async with AsyncSession(own, expire_on_commit=False) as db:
            job = await db.run_sync(lambda session: IndexingService(session).create_indexing_job(program_id=1))
            await db.commit()
        await own.dispose()
        return job.program_id

    assert asyncio.run(create_one()) == 1
    assert jobs_in(engine) == 1


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_any_driver_and_schema_of_the_application_will_do(database_url: str, engine: Engine, driver: str) -> None:
    own = create_engine(database_url.replace("postgresql://", f"postgresql+{driver}://"))
    with own.begin() as connection:
        connection.execute(text("CREATE SCHEMA own"))
    with Session(own) as db:
        db.execute(text("SET search_path = own, public"))
        job = create(db, unique_key="once", scheduled_at=datetime.now(UTC), note="é")
        assert create(db, unique_key="once") is job
        ids = IndexingService(db).create_many([NewJob("full_scan", 2, max_retries=n) for n in range(3)])
        with pytest.raises(BadParameters):
            create(db, note="\0")
        db.commit()
        assert job.parameters == {"note": "é"}
        assert job.created_at.tzinfo is not None
    with Session(own) as db:
        db.execute(text("SET search_path = own"))
        with pytest.raises(SchemaMismatch):
            create(db)
    own.dispose()
    assert [view.id for view in Queue(engine).page().jobs] == [*reversed(ids), job.id]


def test_each_thread_has_a_session_of_its_own(engine: Engine) -> None:
    service = IndexingService(scoped_session(sessionmaker(engine)))

    def work() -> None:
        for _ in range(5):
            service.create_indexing_job(program_id=1)
            service._db.commit()
        service._db.remove()  # type: ignore[union-attr]

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert jobs_in(engine) == 20


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_session_that_reads_keeps_nobody_from_writing(db: Session, database_url: str) -> None:
    reading_engine = open_engine(database_url, connect_timeout=0.1).execution_options(jobqueue_read=True)
    create(db)
    with Session(reading_engine) as reading:
        assert IndexingService(reading).get_program_jobs(1) == []
        db.commit()
        create(db)
        db.commit()
    reading_engine.dispose()


def test_the_session_goes_on_after_a_read_that_failed(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    Base.metadata.create_all(engine)
    with Session(engine) as db:
        db.add(Team(name="docs"))
        service = IndexingService(db)
        for read in (lambda: service.get_job(1), lambda: service.get_program_jobs(1), service.get_queue_status):
            with pytest.raises(SchemaMismatch):
                read()
        db.commit()
        assert db.scalars(select(Team.name)).all() == ["docs"]
    engine.dispose()
