"""Answers stay small however large the rows are: others may put anything into them, with a plain INSERT."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from backends import Queue
from backends.tables import job_attempts
from tests.apps.http.conftest import Served
from tests.backends.scene import insert_raw, row

MEGABYTE = 1_000_000


def document(size: int) -> str:
    """A JSON object of so many bytes."""
    return json.dumps({"text": "x" * (size - len('{"text": ""}'))})


def listed(served: Served) -> Any:
    return served.client.get("/job-queue/jobs/1").json()["jobs"][0]


def shown(served: Served, job_id: int) -> Any:
    return served.client.get(f"/job-queue/jobs/1/{job_id}").json()


def test_a_list_tells_the_size_of_large_parameters_and_one_job_shows_them(served: Served, engine: Engine) -> None:
    for size in (3_999, 4_000):
        job_id = insert_raw(engine, job_parameters=document(size))
        assert listed(served)["job_parameters"] == shown(served, job_id)["job_parameters"] == json.loads(document(size))
    for size in (4_001, MEGABYTE):
        job_id = insert_raw(engine, job_parameters=document(size))
        assert listed(served)["job_parameters"] == {"omitted": f"{size} bytes; ask for the job itself"}
        assert shown(served, job_id)["job_parameters"] == json.loads(document(size))
    assert len(served.client.get("/job-queue/jobs/1").content) < 20_000


def test_parameters_larger_than_any_that_may_be_enqueued_are_not_shown_at_all(served: Served, engine: Engine) -> None:
    job_id = insert_raw(engine, job_parameters=document(MEGABYTE + 1))
    assert shown(served, job_id)["job_parameters"] == {"omitted": "1000001 bytes; at most 1000000 are shown"}


def test_a_long_text_is_cut_in_a_list_and_whole_for_one_job(served: Served, engine: Engine) -> None:
    for text in ("x" * 2_000, "ü" * 1_000):
        insert_raw(engine, error_message=text)
        assert listed(served)["error_message"] == text
    job_id = insert_raw(engine, error_message="ü" * 20_000)
    assert listed(served)["error_message"] == "ü" * 1_000 + " [40000 bytes in all]"
    assert shown(served, job_id)["error_message"] == "ü" * 20_000


TEXTS = ("job_type", "folder_id", "progress_message", "error_message", "job_parameters")


@pytest.mark.parametrize("size", [MEGABYTE, 5 * MEGABYTE])
def test_no_row_makes_an_answer_of_megabytes(served: Served, queue: Queue, engine: Engine, size: int) -> None:
    job_id = insert_raw(engine, retry_count=1, **dict.fromkeys(TEXTS, "x" * size))
    for examined in (False, True):
        assert (row(queue, job_id).waits_for == "name") is examined
        for path in ("/job-queue/status", "/job-queue/jobs/1", f"/job-queue/jobs/1/{job_id}"):
            answer = served.client.get(path)
            assert answer.status_code == 200, answer.text[:1000]
            assert len(answer.content) < (110_000 if path.endswith(f"1/{job_id}") else 10_000) + (size == MEGABYTE) * MEGABYTE
            assert "bytes in all]" in answer.text
        queue.admit()


def test_of_many_attempts_the_newest_are_shown_and_that_there_are_more(served: Served, engine: Engine) -> None:
    job_id, other = insert_raw(engine), insert_raw(engine)
    many = [
        {"job_id": each, "lease": lease, "outcome": "failed", "reason": "x" * 3_000, "detail": ""}
        for lease in range(1, 151) for each in (job_id, other)
    ]
    with engine.begin() as connection:
        connection.execute(insert(job_attempts).values(ended_at=row(Queue(engine), job_id).created_at), many[:200])
    assert (len(shown(served, job_id)["attempts"]), shown(served, job_id)["more_attempts"]) == (100, False)
    with engine.begin() as connection:
        connection.execute(insert(job_attempts).values(ended_at=row(Queue(engine), job_id).created_at), many[200:])
    found = shown(served, job_id)
    assert [each["lease"] for each in found["attempts"]] == list(range(51, 151))
    assert found["more_attempts"] is True
    assert {each["reason"] for each in found["attempts"]} == {"x" * 1_000 + " [3000 bytes in all]"}
