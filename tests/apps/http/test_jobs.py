"""Jobs over HTTP: added, listed, shown, cancelled and retried, each with its audit."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, select

from backends import Job, JobTypeFacts, Queue, audit
from tests.apps.http.conftest import Served

WANTED = {
    "program_id": 1,
    "folder_id": "folder_123",
    "job_type": "specific_folder",
    "priority": 1,
    "job_parameters": {"include_trashed": False, "custom_setting": "value"},
}


def claimed(queue: Queue, job_type: str = "specific_folder") -> Job:
    """One job of this type, which is running now."""
    queue.register({job_type: JobTypeFacts(None)}, "tester")
    queue.admit()
    [job] = queue.claim("tester:0001", [job_type], 1)
    return job


def audited(engine: Engine) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        columns = (audit.c.actor, audit.c.action, audit.c.program_id, audit.c.job_id, audit.c.reason)
        return [tuple(row) for row in connection.execute(select(*columns).order_by(audit.c.id))]


def test_a_job_is_added_and_found_at_its_location(served: Served, engine: Engine) -> None:
    answer = served.client.post("/job-queue/jobs", json=WANTED | {"reason": "a first look"})
    assert answer.status_code == 201
    job = answer.json()
    assert WANTED.items() <= job.items()
    assert (job["status"], job["user_id"], job["max_retries"]) == ("pending", None, 3)
    shown = served.client.get(answer.headers["Location"]).json()
    assert job.items() <= shown.items()
    assert shown["attempts"] == []
    assert shown["waits_for"]
    assert audited(engine) == [("localhost", "job.create", 1, job["id"], "a first look")]
