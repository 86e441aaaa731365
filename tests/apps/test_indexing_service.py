"""IndexingService: the queue in an application's own Session, and in its transaction."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, create_engine, func, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from apps.indexing_service import IndexingService
from backends import BadParameters, DatabaseUnavailable, IndexingJob, NewJob, Queue, SchemaMismatch, UnusableSession, open_engine


class Base(DeclarativeBase):
    """The application's own, which knows nothing of the queue."""


class Team(Base):
    __tablename__ = "teams"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class Project(Base):
    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(primary_key=True)
    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id"))
    job_id: Mapped[int | None]


@pytest.fixture
def db(engine: Engine) -> Iterator[Session]:
    """A Session of an application with tables of its own in the queue's database."""
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session


def jobs_in(engine: Engine) -> int:
    """How many jobs others see."""
    with engine.execution_options(jobqueue_read=True).connect() as connection:
        return connection.scalar(select(func.count()).select_from(IndexingJob)) or 0


def create(db: Session, **values: Any) -> IndexingJob:
    return IndexingService(db).create_indexing_job(**{"program_id": 1, "user_id": 1, "job_type": "full_scan", **values})


def test_the_example_of_the_specification_creates_a_job(db: Session) -> None:
    indexing_service = IndexingService(db)
    job = indexing_service.create_indexing_job(
        program_id=1,
        user_id=1,
        folder_id="folder_123",
        job_type="specific_folder",
        priority=1,  # Higher priority
        include_trashed=False,
        custom_setting="value",
    )
    db.commit()
    assert (job.program_id, job.user_id, job.folder_id, job.job_type, job.priority) == (1, 1, "folder_123", "specific_folder", 1)
    assert (job.status, job.retry_count, job.max_retries, job.locked_by) == ("pending", 0, 3, None)
    assert job.parameters == {"include_trashed": False, "custom_setting": "value"}
    assert job.created_at.tzinfo is not None


def test_a_job_without_parameters_has_none(db: Session) -> None:
    assert create(db).job_parameters is None


def test_the_job_is_attached_and_fresh(db: Session) -> None:
    job = create(db)
    assert job in db
    assert db.get(IndexingJob, job.id) is job
    assert not inspect(job).expired_attributes
    assert repr(job) == f"IndexingJob(id={job.id}, job_type='full_scan', program_id=1, status='pending')"


def test_the_job_commits_with_the_callers_transaction(db: Session, engine: Engine) -> None:
    db.add(Team(name="docs"))
    create(db)
    assert jobs_in(engine) == 0
    db.commit()
    assert jobs_in(engine) == 1


def test_the_job_vanishes_with_the_callers_transaction(db: Session, engine: Engine) -> None:
    db.add(Team(name="docs"))
    number = create(db).id
    db.rollback()
    assert jobs_in(engine) == 0
    assert db.get(IndexingJob, number) is None
    assert db.scalars(select(Team)).all() == []


def test_what_the_session_holds_is_written_before_the_job(db: Session) -> None:
    team = Team(name="docs")
    project = Project(team_id=0)
    db.add(team)
    with db.no_autoflush:
        create(db)
        project.team_id = team.id
        db.add(project)
        job = create(db, program_id=2)
        project.job_id = job.id
    db.commit()
    assert (project.team_id, project.job_id) == (team.id, job.id)


def test_a_savepoint_that_is_rolled_back_takes_its_job_along(db: Session, engine: Engine) -> None:
    kept = create(db)
    with db.begin_nested() as savepoint:
        create(db)
        savepoint.rollback()
    with db.begin_nested():
        kept_too = create(db)
    db.commit()
    assert set(db.scalars(select(IndexingJob.id))) == {kept.id, kept_too.id}


def test_every_value_that_a_job_may_be_given_is_kept(db: Session) -> None:
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    job = create(db, scheduled_at=later, max_retries=7, unique_key="once", include_trashed=True)
    assert (job.scheduled_at, job.max_retries, job.unique_key) == (later, 7, "once")
    assert job.parameters == {"include_trashed": True}


def test_the_same_unique_key_gives_the_same_job(db: Session, engine: Engine) -> None:
    first = create(db, unique_key="nightly")
    assert create(db, unique_key="nightly") is first
    assert create(db, unique_key="nightly", program_id=2) is not first
    number = first.id
    db.commit()
    with Session(engine) as other:
        assert create(other, unique_key="nightly").id == number


def test_many_jobs_come_in_the_order_in_which_they_were_given(db: Session) -> None:
    ids = IndexingService(db).create_many([NewJob("full_scan", n, scheduled_at=datetime.now(UTC)) for n in range(1, 51)])
    db.commit()
    assert list(db.scalars(select(IndexingJob.program_id).order_by(IndexingJob.id))) == list(range(1, 51))
    assert sorted(ids) == ids


@pytest.mark.parametrize("values", [
    {"note": "a\0b"}, {"note": float("nan")}, {"note": object()}, {"note": "x" * 1_000_001}, {"folder_id": "\ud800"},
    {"job_type": "x" * 501}, {"program_id": 2**31}, {"scheduled_at": datetime(2030, 1, 1)},
], ids=lambda values: next(iter(values)))  # fmt: skip
def test_what_cannot_be_stored_is_refused_and_the_session_goes_on(db: Session, values: dict[str, Any]) -> None:
    db.add(Team(name="docs"))
    with pytest.raises(BadParameters):
        create(db, **values)
    kept = create(db)
    db.commit()
    assert list(db.scalars(select(IndexingJob.id))) == [kept.id]
    assert db.scalars(select(Team.name)).all() == ["docs"]


def test_one_bad_job_among_many_keeps_all_out(db: Session) -> None:
    with pytest.raises(BadParameters):
        IndexingService(db).create_many([NewJob("full_scan", 1, unique_key="a"), NewJob("full_scan", 1, parameters={"a": "\0"})])
    db.commit()
    assert db.scalars(select(IndexingJob.id)).all() == []


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_key_that_another_transaction_holds_is_no_answer_in_time_and_the_session_goes_on(db: Session, engine: Engine) -> None:
    with Session(engine) as rival:
        create(rival, unique_key="nightly")
        db.add(Team(name="docs"))
        db.execute(text("SET LOCAL lock_timeout = '100ms'"))
        with pytest.raises(DatabaseUnavailable):
            create(db, unique_key="nightly")
        create(db, unique_key="weekly")
        db.commit()
    assert list(db.scalars(select(IndexingJob.unique_key))) == ["weekly"]
    assert db.scalars(select(Team.name)).all() == ["docs"]


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
    assert [view.id for view in Queue(engine).page()] == [*reversed(ids), job.id]


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


def test_an_instance_that_is_added_by_hand_is_queued_like_any_insert(db: Session, engine: Engine) -> None:
    job = IndexingJob(program_id=1, job_type="full_scan", job_parameters='{"a": 1}')
    db.add(job)
    db.commit()
    assert (job.status, job.priority, job.parameters) == ("pending", 0, {"a": 1})
    assert Queue(engine).counts().pending == 1
