"""IndexingService: what an application may see of jobs, and how it changes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from apps.indexing_service import IndexingService
from backends import (
    CancelAnswer,
    IndexingJob,
    JobTypeFacts,
    NewJob,
    Queue,
    RetryAnswer,
)
from config import ConfigError
from tests.apps.application import create
from tests.backends.scene import change


def claimed(engine: Engine) -> int:
    """The id of a job that a worker has claimed."""
    queue = Queue(engine)
    queue.register({"full_scan": JobTypeFacts(None)}, "test")
    (mine,) = queue.claim("worker:0001", ("full_scan",), 1)
    return mine.id


def test_the_status_is_that_of_the_specification(db: Session, engine: Engine) -> None:
    service = IndexingService(db)
    oldest, _ = create(db), create(db, program_id=2)
    db.commit()
    assert service.get_queue_status() == {
        "pending_jobs": 2,
        "running_jobs": 0,
        "completed_jobs": 0,
        "failed_jobs": 0,
        "cancelled_jobs": 0,
        "scheduled_jobs": 0,
        "waiting_jobs": 0,
        "oldest_pending_job": {
            "id": oldest.id,
            "created_at": oldest.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "job_type": "full_scan",
        },
    }
    assert service.get_queue_status(3)["oldest_pending_job"] is None


def test_asking_for_the_status_opens_no_transaction_and_sees_what_is_not_committed(db: Session, engine: Engine) -> None:
    service = IndexingService(db)
    assert service.get_queue_status()["pending_jobs"] == 0
    assert not db.in_transaction()
    create(db)
    assert service.get_queue_status()["pending_jobs"] == 1
    with Session(engine) as other:
        assert IndexingService(other).get_queue_status()["pending_jobs"] == 0


def test_the_jobs_of_a_program_come_newest_first(db: Session, engine: Engine) -> None:
    ids = IndexingService(db).create_many([NewJob("full_scan", 1) for _ in range(3)])
    create(db, program_id=2)
    db.commit()
    with Session(engine.execution_options(jobqueue_read=True)) as reading:
        service = IndexingService(reading)
        assert [job.id for job in service.get_program_jobs(1)] == ids[::-1]
        assert [job.id for job in service.get_program_jobs(1, limit=2)] == ids[:0:-1]
        assert [job.id for job in service.get_program_jobs(1, before=ids[1])] == [ids[0]]
        assert service.get_job(10**9) is None
        assert service.get_job(ids[0]) in reading


def test_what_the_session_knew_of_a_job_is_brought_up_to_date(db: Session, engine: Engine) -> None:
    service = IndexingService(db)
    job = create(db)
    db.commit()
    number = job.id
    assert job.status == "pending"
    db.rollback()
    db.expire_all()
    assert claimed(engine) == number
    assert service.get_job(number) is job
    assert (job.status, job.locked_by) == ("running", "worker:0001")


def test_cancelling_takes_effect_with_the_callers_transaction(db: Session, engine: Engine) -> None:
    service = IndexingService(db)
    job = create(db)
    number = job.id
    db.commit()
    assert service.cancel_job(number) is CancelAnswer.CANCELLED
    assert job.status == "cancelled"
    db.rollback()
    assert job.status == "pending"
    assert service.cancel_job(number) is CancelAnswer.CANCELLED
    db.commit()
    assert Queue(engine).counts().cancelled == 1
    assert service.cancel_job(number) is CancelAnswer.FINAL
    assert service.cancel_job(10**9) is CancelAnswer.MISSING


def test_a_running_job_is_asked_to_stop(db: Session, engine: Engine) -> None:
    create(db)
    db.commit()
    number = claimed(engine)
    assert IndexingService(db).cancel_job(number) is CancelAnswer.ASKED
    db.commit()
    assert db.get_one(IndexingJob, number).cancel_requested_at is not None


def test_a_finished_job_is_retried(db: Session, engine: Engine) -> None:
    service = IndexingService(db)
    job = create(db)
    number = job.id
    assert service.retry_job(number) is RetryAnswer.ACTIVE
    assert service.cancel_job(number) is CancelAnswer.CANCELLED
    assert service.retry_job(number) is RetryAnswer.RETRIED
    assert job.status == "pending"
    assert service.retry_job(10**9) is RetryAnswer.MISSING
    db.commit()
    assert Queue(engine).counts().pending == 1


def test_jobs_of_the_dead_are_put_back_and_those_of_the_living_are_not(db: Session, engine: Engine) -> None:
    service = IndexingService(db)
    create(db)
    db.commit()
    number = claimed(engine)
    assert service.reset_stuck_jobs(1, lock_timeout=30) == []
    db.commit()
    change(engine, number, locked_at=datetime.now(UTC) - timedelta(minutes=1), locked_boot=None, locked_boot_seconds=None)
    assert service.reset_stuck_jobs(2, lock_timeout=30) == []
    assert [each.job_id for each in service.reset_stuck_jobs(1, lock_timeout=30)] == [number]
    assert service.get_job(number).status == "pending"  # type: ignore[union-attr]
    db.commit()


def test_when_a_lease_is_dead_is_what_the_configuration_says(
    db: Session, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = IndexingService(db)
    create(db)
    db.commit()
    number = claimed(engine)
    change(engine, number, locked_at=datetime.now(UTC) - timedelta(minutes=1), locked_boot=None, locked_boot_seconds=None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JOBQUEUE_CONFIG", raising=False)
    with pytest.raises(ConfigError):
        service.reset_stuck_jobs(1)
    (tmp_path / "jobqueue.yaml").write_text("lock_timeout: 5m\n")
    assert service.reset_stuck_jobs(1) == []
    (tmp_path / "jobqueue.yaml").write_text("lock_timeout: 30s\n")
    assert len(service.reset_stuck_jobs(1)) == 1
    db.commit()
