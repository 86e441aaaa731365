"""Jobs over HTTP: added, listed, shown, cancelled and retried, each change with its audit."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from apps.http.jobs import UNSERVED
from apps.http.problems import NOT_FOUND
from backends import JobTypeFacts, Kind, NewJob, Outcome, Queue, Status
from tests.apps.http.conftest import Served
from tests.apps.http.scene import audited, running
from tests.backends.scene import change, insert_raw, row

HOUR = timedelta(hours=1)

WANTED: dict[str, Any] = {
    "program_id": 1,
    "folder_id": "folder_123",
    "job_type": "specific_folder",
    "priority": 1,
    "job_parameters": {"include_trashed": False, "custom_setting": "value"},
}


def add(served: Served, **given: Any) -> dict[str, Any]:
    answer = served.client.post("/job-queue/jobs", json=WANTED | given)
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.json()
    return job


def walk(served: Served, query: str) -> list[list[int]]:
    """The ids on each page of program 1's list."""
    pages, cursor = [], ""
    while cursor is not None:
        page = served.client.get(f"/job-queue/jobs/1?{query}{cursor and '&cursor='}{cursor}").json()
        pages.append([job["id"] for job in page["jobs"]])
        cursor = page["next_cursor"]
    return pages


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


def test_a_type_that_no_supervisor_ever_served_is_taken_with_a_hint(served: Served, queue: Queue) -> None:
    queue.register({"specific_folder": JobTypeFacts(None)}, "one")
    assert "X-Job-Hint" not in served.client.post("/job-queue/jobs", json=WANTED).headers
    misspelt = served.client.post("/job-queue/jobs", json=WANTED | {"job_type": "specific_foldre"})
    assert misspelt.status_code == 201
    assert misspelt.headers["X-Job-Hint"] == UNSERVED


def test_everything_that_may_be_said_of_a_new_job_is_kept(served: Served) -> None:
    given = {"user_id": 7, "max_retries": 0, "unique_key": "nightly", "priority": -(2**31), "program_id": 2**31 - 1}
    job = add(served, scheduled_at="2030-01-01T10:00:00.25+02:00", **given)
    assert given.items() <= job.items()
    assert job["scheduled_at"] == "2030-01-01T08:00:00.250000Z"


def test_a_unique_key_gives_the_same_job_again_and_is_audited_once(served: Served, engine: Engine) -> None:
    first = add(served, unique_key="nightly")
    again = served.client.post("/job-queue/jobs", json=WANTED | {"unique_key": "nightly", "priority": 9})
    assert (again.status_code, again.json()) == (200, first)
    assert again.headers["Location"] == f"/job-queue/jobs/1/{first['id']}"
    assert add(served, unique_key="nightly", program_id=2)["id"] != first["id"]
    assert [entry[1] for entry in audited(engine)] == ["job.create"] * 2


def test_of_many_who_add_under_one_key_at_the_same_time_one_creates(served: Served, engine: Engine) -> None:
    answers: list[tuple[int, int]] = []
    start = threading.Barrier(8)

    def add_one() -> None:
        start.wait()
        answer = served.client.post("/job-queue/jobs", json=WANTED | {"unique_key": "nightly"})
        answers.append((answer.status_code, answer.json()["id"]))

    threads = [threading.Thread(target=add_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(status for status, _ in answers) == [200] * 7 + [201]
    assert len({job_id for _, job_id in answers}) == 1
    assert len(audited(engine)) == 1


def test_a_job_of_another_program_is_not_found_under_this_one(served: Served) -> None:
    job = add(served)
    answer = served.client.get(f"/job-queue/jobs/2/{job['id']}")
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    assert answer.content == served.client.get("/job-queue/jobs/2/999").content


def test_the_list_has_the_newest_first_and_goes_on_where_it_ended(served: Served, queue: Queue) -> None:
    ids = queue.enqueue([NewJob("quick", 1) for _ in range(5)])
    queue.enqueue([NewJob("quick", 2)])
    assert walk(served, "limit=2") == [ids[4:2:-1], ids[2:0:-1], ids[:1]]
    assert walk(served, "limit=5") == [ids[::-1]]
    assert served.client.get("/job-queue/jobs/3").json() == {"jobs": [], "next_cursor": None}


def test_twenty_jobs_are_a_page_unless_said_otherwise(served: Served, queue: Queue) -> None:
    queue.enqueue([NewJob("quick", 1) for _ in range(21)])
    assert [len(page) for page in walk(served, "")] == [20, 1]


def test_jobs_that_arrive_while_somebody_pages_neither_repeat_nor_hide_one(served: Served, queue: Queue) -> None:
    ids = queue.enqueue([NewJob("quick", 1) for _ in range(6)])
    seen, cursor = [], ""
    while cursor is not None:
        page = served.client.get(f"/job-queue/jobs/1?limit=2{cursor and '&cursor='}{cursor}").json()
        queue.enqueue([NewJob("quick", 1) for _ in range(3)])
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
    assert seen == ids[::-1]


def test_the_list_is_filtered_by_status_and_type(served: Served, queue: Queue) -> None:
    quick, slow = queue.enqueue([NewJob("quick", 1), NewJob("slow", 1)])
    queue.cancel(quick)
    assert walk(served, "status=cancelled") == [[quick]]
    assert walk(served, "job_type=slow") == [[slow]]
    assert walk(served, "job_type=slow&status=cancelled") == [[]]


def test_a_job_shows_how_its_attempts_ended_without_their_tracebacks(served: Served, queue: Queue) -> None:
    mine = running(queue)
    queue.settle("tester:0001", [(mine, Outcome(Kind.FAILED, "no such folder", "Traceback: line 1"))])
    shown = served.client.get(f"/job-queue/jobs/1/{mine.id}")
    [attempt] = shown.json()["attempts"]
    assert (attempt["outcome"], attempt["reason"], attempt["locked_by"]) == ("failed", "no such folder", "tester:0001")
    assert attempt["ended_at"].endswith("Z")
    assert "Traceback" not in shown.text


def test_a_job_that_does_not_wait_waits_for_nothing(served: Served, queue: Queue) -> None:
    shown = served.client.get(f"/job-queue/jobs/1/{running(queue).id}").json()
    assert (shown["status"], shown["waits_for"], shown["locked_by"]) == ("running", None, "tester:0001")


def test_a_queued_job_is_cancelled_at_once(served: Served, queue: Queue, engine: Engine) -> None:
    [job_id] = queue.enqueue([NewJob("quick", 1)])
    answer = served.client.post(f"/job-queue/jobs/{job_id}/cancel", json={"reason": "by mistake"})
    assert (answer.status_code, answer.json()) == (200, {"job_id": job_id, "answer": "cancelled"})
    assert row(queue, job_id).status == Status.CANCELLED
    assert audited(engine) == [("localhost", "job.cancel", 1, job_id, "by mistake")]


def test_a_running_job_is_asked_to_stop(served: Served, queue: Queue, engine: Engine) -> None:
    mine = running(queue)
    answer = served.client.post(f"/job-queue/jobs/{mine.id}/cancel")
    assert (answer.status_code, answer.json()) == (202, {"job_id": mine.id, "answer": "asked"})
    assert row(queue, mine.id).cancel_requested_at is not None
    assert audited(engine) == [("localhost", "job.cancel", 1, mine.id, None)]


def test_a_job_that_is_over_can_be_retried_and_not_cancelled(served: Served, queue: Queue, engine: Engine) -> None:
    [job_id] = queue.enqueue([NewJob("quick", 1)])
    queue.cancel(job_id)
    assert served.client.post(f"/job-queue/jobs/{job_id}/cancel").status_code == 409
    answer = served.client.post(f"/job-queue/jobs/{job_id}/retry", json={})
    assert (answer.status_code, answer.json()) == (200, {"job_id": job_id, "answer": "retried"})
    assert served.client.post(f"/job-queue/jobs/{job_id}/retry").status_code == 409
    assert audited(engine) == [("localhost", "job.retry", 1, job_id, None)]


@pytest.mark.parametrize("verb", ["cancel", "retry"])
@pytest.mark.parametrize("job_id", [999, 2**63 - 1])
def test_a_job_that_is_not_there_is_not_found(served: Served, engine: Engine, verb: str, job_id: int) -> None:
    answer = served.client.post(f"/job-queue/jobs/{job_id}/{verb}")
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    assert audited(engine) == []


def test_stuck_jobs_are_handed_back_and_living_ones_are_not(served: Served, queue: Queue, engine: Engine) -> None:
    stuck, other, alive = running(queue), running(queue, 2), running(queue)
    age(queue, engine, stuck.id, other.id)
    answer = served.client.post("/indexing/reset-stuck-jobs/1", json={"reason": "the host is gone"})
    assert answer.status_code == 200
    assert answer.json() == {"program_id": 1, "reset_jobs": 1, "jobs": [{"id": stuck.id, "status": "pending"}]}
    assert [row(queue, each.id).status for each in (stuck, other, alive)] == ["pending", "running", "running"]
    assert audited(engine) == [("localhost", "jobs.reset_stuck", 1, None, "the host is gone")]
    assert served.client.post("/indexing/reset-stuck-jobs/1").json()["reset_jobs"] == 0


def age(queue: Queue, engine: Engine, *job_ids: int) -> None:
    """Have nobody renewed these leases for an hour."""
    for job_id in job_ids:
        change(engine, job_id, locked_at=row(queue, job_id).locked_at - HOUR, locked_boot=None, locked_boot_seconds=None)


FOREIGN = ['{"a": NaN}', '{"a": 1e999}', "[1]", "{", '{"a": "\\ud800"}', '{"\\udfff": 1}', '{"n": ' + "9" * 5_000 + "}"]
"""Parameters that no request of ours could bring into a row."""


def test_whatever_others_have_put_into_a_row_can_be_looked_at(served: Served, engine: Engine) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    ids = [insert_raw(engine, job_parameters=parameters) for parameters in FOREIGN]
    for path in ("/job-queue/jobs/1", "/job-queue/status", *(f"/job-queue/jobs/1/{job_id}" for job_id in ids)):
        answer = served.client.get(path)
        assert answer.status_code == 200, answer.text
        json.loads(answer.content, parse_constant=refuse)


def test_looking_at_a_job_that_waits_for_a_key_makes_none(served: Served, engine: Engine, tmp_path: Path) -> None:
    waiting = insert_raw(engine, job_parameters='{"access_token": "ya29.marked"}')
    change(engine, waiting, waits_for="key")
    assert served.client.get(f"/job-queue/jobs/1/{waiting}").json()["waits_for"]
    assert list(tmp_path.glob("*.key*")) == []


def test_what_is_shown_of_a_row_is_every_column_that_is_public(served: Served, queue: Queue) -> None:
    private = {
        "lease", "ready_at", "lane", "waits_for", "checkpoint", "locked_boot", "locked_boot_seconds", "holds_secrets", "examined",
    }
    job = add(served)
    assert set(job) == set(row(queue, job["id"])._fields) - private


def test_secrets_among_the_parameters_are_taken_and_never_shown(served: Served, backend: str, engine: Engine) -> None:
    secret = {**WANTED, "job_parameters": {"include_trashed": False, "access_token": "ya29.marked"}}
    answer = served.client.post("/job-queue/jobs", json=secret)
    assert "ya29.marked" not in answer.text
    if backend == "postgresql":
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/secrets-unavailable")
        assert "supervisor secrets new-key" in answer.json()["detail"]
        assert served.client.get("/job-queue/jobs/1").json()["jobs"] == []
        return
    assert (answer.status_code, answer.json()["job_parameters"]) == (201, {"include_trashed": False})
    waiting = insert_raw(engine, job_parameters='{"access_token": "ya29.marked"}')
    for path in ("/job-queue/jobs/1", f"/job-queue/jobs/1/{waiting}"):
        assert "ya29.marked" not in served.client.get(path).text


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_key_file_that_was_lost_is_not_replaced_by_a_request(served: Served, tmp_path: Path, engine: Engine) -> None:
    secret = {**WANTED, "job_parameters": {"access_token": "ya29.marked"}}
    assert served.client.post("/job-queue/jobs", json=secret).status_code == 201
    [file] = tmp_path.glob("*.key")
    file.unlink()
    insert_raw(engine, job_parameters='{"access_token": "ya29.marked"}')
    answer = served.client.post("/job-queue/jobs", json=secret)
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/secrets-unavailable")
    assert "restores it" in answer.json()["detail"]
    shown = [served.client.get(f"/job-queue/jobs/1{rest}") for rest in ("", "/1", "/2")]
    assert {each.status_code for each in shown} == {200}
    assert list(tmp_path.glob("*.key")) == []
