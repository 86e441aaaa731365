"""Jobs that an application creates in its own Session, and in its transaction."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, select
from sqlalchemy.orm import Session

from apps.indexing_service import IndexingService
from backends import BadParameters, IndexingJob, KeyProblem, NewJob, Owner, Queue, metadata, new_key, read_secret
from tests.apps.application import Project, Team, create, jobs_in


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


def test_an_access_token_is_kept_apart_from_the_job_and_encrypted(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBQUEUE_ENCRYPTION_KEYS", new_key())
    job = create(db, access_token="canary-1", drive={"refresh_token": "canary-2"}, include_trashed=False)
    db.commit()
    assert job.parameters == {"include_trashed": False, "drive": {}}
    assert read_secret(db.connection(), Owner.JOB, job.id, "access_token") == "canary-1"
    assert read_secret(db.connection(), Owner.JOB, job.id, "drive.refresh_token") == "canary-2"
    for table in metadata.sorted_tables:
        assert "canary" not in repr(db.execute(select(table)).all()), table.name
    IndexingService(db).cancel_job(job.id)
    assert read_secret(db.connection(), Owner.JOB, job.id, "access_token") is None


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_token_that_nothing_can_encrypt_is_refused_and_the_session_goes_on(
    db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOBQUEUE_ENCRYPTION_KEYS", raising=False)
    monkeypatch.delenv("JOBQUEUE_KEY_FILE", raising=False)
    db.add(Team(name="docs"))
    with pytest.raises(KeyProblem, match="JOBQUEUE_ENCRYPTION_KEYS") as refusal:
        create(db, access_token="canary")
    assert "canary" not in repr(refusal.value)
    kept = create(db)
    db.commit()
    assert list(db.scalars(select(IndexingJob.id))) == [kept.id]
    assert db.scalars(select(Team.name)).all() == ["docs"]


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


def test_an_instance_that_is_added_by_hand_is_queued_like_any_insert(db: Session, engine: Engine) -> None:
    job = IndexingJob(program_id=1, job_type="full_scan", job_parameters='{"a": 1}')
    db.add(job)
    db.commit()
    assert (job.status, job.priority, job.parameters) == ("pending", 0, {"a": 1})
    assert Queue(engine).counts().pending == 1


def test_every_column_of_the_class_is_typed_and_the_private_ones_are_not_there() -> None:
    mapped = set(inspect(IndexingJob).column_attrs.keys())
    assert mapped == set(IndexingJob.__annotations__)
    assert {"ready_at", "waits_for", "checkpoint", "holds_secrets"} & mapped == set()


def test_who_needs_no_session_does_not_wait_for_the_orm() -> None:
    program = "import sys, backends; assert 'sqlalchemy.orm' not in sys.modules; backends.IndexingJob.status"
    subprocess.run([sys.executable, "-c", program], check=True)
