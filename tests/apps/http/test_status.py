"""The queue's status over HTTP is the specification's, costs a poller nothing when nothing changed, and has a switch."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, event

from apps.http import examples
from backends import JobTypeFacts, Kind, NewJob, Outcome, Queue
from tests.apps.http.conftest import Served
from tests.apps.http.scene import Switch, audited, running
from tests.backends.scene import change, insert_raw

SOME_TIME = datetime(2024, 1, 1, 10, tzinfo=UTC)
LATER = datetime(2099, 1, 1, tzinfo=UTC)

SPECIFIED: dict[str, Any] = {
    "queue": {
        "pending_jobs": 5,
        "running_jobs": 1,
        "completed_jobs": 100,
        "failed_jobs": 3,
        "oldest_pending_job": {"id": 123, "created_at": "2024-01-01T10:00:00Z", "job_type": "full_scan"},
    },
    "processor": {
        "process_id": "processor_abc123",
        "running": True,
        "thread_alive": True,
        "shutdown_requested": False,
    },
    "is_processor_running": True,
}
"""The example of the specification, as it stands there."""


def includes(whole: Any, part: Any) -> bool:
    """Whether a document has everything that another has, in the same places."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and includes(whole[key], part[key]) for key in part)
    return bool(whole == part and type(whole) is type(part))


def shape(value: Any) -> Any:
    """The keys of a document and the kinds of its values."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    return type(value)


@pytest.fixture
def switch() -> Switch:
    """The processor of `steered`."""
    return Switch()


@pytest.fixture
def steered(server: Callable[..., Served], database_url: str, switch: Switch) -> Served:
    """An API with a processor."""
    return server(database_url, processor=switch)


def test_the_status_has_what_the_specification_says_key_by_key(
    steered: Served, switch: Switch, queue: Queue, engine: Engine
) -> None:
    switch.start()
    for outcome in [Outcome(Kind.COMPLETED)] * 2 + [Outcome(Kind.GAVE_UP, "no")]:
        queue.settle("tester:0001", [(running(queue), outcome)])
    running(queue)
    oldest = insert_raw(engine, job_type="full_scan", created_at="2024-01-01 10:00:00+00:00")
    queue.enqueue([NewJob("full_scan", 2)])
    found = steered.client.get("/job-queue/status").json()
    wanted = SPECIFIED | {
        "queue": {
            "pending_jobs": 2,
            "running_jobs": 1,
            "completed_jobs": 2,
            "failed_jobs": 1,
            "oldest_pending_job": SPECIFIED["queue"]["oldest_pending_job"] | {"id": oldest},
        }
    }
    assert includes(found, wanted), found
    assert includes(shape(found), shape(SPECIFIED))


def test_the_example_in_the_openapi_document_is_the_one_of_the_specification() -> None:
    assert includes(examples.STATUS, SPECIFIED)


def test_an_empty_queue_has_no_oldest_job_and_an_api_without_a_processor_says_so(served: Served) -> None:
    status = served.client.get("/job-queue/status").json()
    assert status["queue"]["oldest_pending_job"] is None
    assert set(status["queue"].values()) == {0, None}
    assert status["processor"] == {
        "process_id": None, "running": False, "thread_alive": False, "shutdown_requested": False
    }
    assert status["is_processor_running"] is False
    assert served.client.post("/job-queue/start-processor").status_code == 409


def test_times_have_microseconds_only_when_there_are_any(served: Served, engine: Engine) -> None:
    job_id = insert_raw(engine, created_at="2024-01-01 12:00:00.500000+02:00")
    shown = served.client.get(f"/job-queue/jobs/1/{job_id}").json()
    assert shown["created_at"] == "2024-01-01T10:00:00.500000Z"
    change(engine, job_id, created_at=SOME_TIME)
    assert served.client.get(f"/job-queue/jobs/1/{job_id}").json()["created_at"] == "2024-01-01T10:00:00Z"


def test_jobs_that_are_cancelled_or_due_later_are_counted_too(served: Served, queue: Queue) -> None:
    queue.register({"quick": JobTypeFacts(None)}, "tester")
    [cancelled, _] = queue.enqueue([NewJob("quick", 1), NewJob("quick", 1, scheduled_at=LATER)])
    queue.cancel(cancelled)
    queue.admit()
    counted = served.client.get("/job-queue/status").json()["queue"]
    assert (counted["pending_jobs"], counted["scheduled_jobs"], counted["cancelled_jobs"]) == (1, 1, 1)


@pytest.mark.parametrize("path", ["/job-queue/status", "/job-queue/jobs/1", "/job-queue/jobs/1/1"])
def test_who_has_the_same_already_gets_no_body(served: Served, queue: Queue, path: str) -> None:
    [job_id] = queue.enqueue([NewJob("quick", 1)])
    first = served.client.get(path)
    tag = first.headers["ETag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    assert first.headers["Cache-Control"] == "no-cache, private"
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = served.client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert again.headers["Cache-Control"] == "no-cache, private"
    queue.cancel(job_id)
    changed = served.client.get(path, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.headers["ETag"] != tag) == (200, True)


@pytest.mark.parametrize("path", ["/job-queue/status", "/job-queue/jobs/1", "/job-queue/jobs/1/1"])
def test_a_poll_is_one_transaction(served: Served, queue: Queue, path: str) -> None:
    queue.enqueue([NewJob("quick", 1)])
    served.client.get(path)
    begun = []
    event.listen(served.services.queue.engine, "begin", begun.append)
    assert served.client.get(path).status_code == 200
    assert len(begun) == 1


def test_the_processor_is_started_and_stopped_as_often_as_one_likes(
    steered: Served, switch: Switch, engine: Engine
) -> None:
    for verb, changed, is_running in [
        ("start", True, True), ("start", False, True), ("stop", True, False), ("stop", False, False)
    ]:
        answer = steered.client.post(f"/job-queue/{verb}-processor", json={"reason": "a new release"})
        assert answer.status_code == 200
        said = answer.json()
        assert (said["changed"], said["is_processor_running"], said["processor"]["running"]) == (
            changed, is_running, is_running
        )
        assert said["processor"] == steered.client.get("/job-queue/status").json()["processor"]
    entry = ("localhost", "processor.start", None, None, "a new release")
    assert audited(engine)[:2] == [entry, entry]
    assert [each[1] for each in audited(engine)[2:]] == ["processor.stop"] * 2
