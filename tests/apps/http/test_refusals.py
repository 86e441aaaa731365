"""What is refused, and how: one shape for every refusal, with what to do, and nothing of what was sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from apps.api import make_api
from apps.http.problems import NOT_FOUND
from apps.http.services import Services
from backends import open_engine
from config import load
from tests.apps.http.conftest import Served
from tests.apps.http.serving import serving

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
"""For what does not depend on the database."""

JOB = {"program_id": 1, "job_type": "quick"}


def is_problem(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer, which must be a whole one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"].startswith("/problems/")
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


def mistakes(answer: httpx2.Response) -> dict[str, tuple[str, str]]:
    """What is wrong where, and how it is mended."""
    errors = is_problem(answer, 422)["errors"]
    assert all(error["what"] and error["fix"] for error in errors)
    return {error["where"]: (error["what"], error["fix"]) for error in errors}


def post(served: Served, body: bytes | str) -> httpx2.Response:
    """Add a job with exactly this body."""
    return served.client.post("/job-queue/jobs", content=body, headers={"Content-Type": "application/json"})


def test_all_mistakes_are_told_at_once_each_with_its_place_and_a_fix(steady: Served) -> None:
    wrong = {
        "program_id": "1",
        "jobtype": "quick",
        "priority": 2**31,
        "max_retries": -1,
        "scheduled_at": "2030-01-01T10:00:00",
        "job_parameters": [],
        "folder_id": "a\0b",
        "user_id": 1.5,
    }
    found = mistakes(steady.client.post("/job-queue/jobs", json={**wrong, "folder_id": "x" * 10_001}))
    assert set(found) == {f"body.{key}" for key in (*wrong, "job_type")}
    assert found["body.jobtype"][1] == "Leave it out, or look for a slip in its name."
    assert found["body.scheduled_at"][1] == "End it with Z, or with an offset such as +02:00."


def test_what_was_sent_is_not_sent_back(steady: Served) -> None:
    for body in ({**JOB, "priority": "ya29.marked"}, {**JOB, "scheduled_at": "ya29.marked"}, ["ya29.marked"]):
        assert "ya29.marked" not in post(steady, json.dumps(body)).text
    assert "ya29.marked" not in steady.client.get("/job-queue/jobs/1?status=ya29.marked&cursor=ya29.marked").text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"program_id": 1, "program_id": 2, "job_type": "quick"}',
        b'{"program_id": 1, "job_type": "quick", "job_parameters": {"a": NaN}}',
        b'{"program_id": 1, "job_type": "quick", "job_parameters": {"a": -Infinity}}',
        b'{"program_id": 1, "job_type": "quick", "job_parameters": {"a": 1e999}}',
        b'{"program_id": 1, "job_type": "quick", "job_parameters": {"a": 1, "a": 2}}',
        b'{"program_id": 1, "job_type": "quick", "job_parameters": {"a": ["\\ud800"]}}',
        b'{"program_id": 1, "job_type": "quick", "job_parameters": {"\\udc00": 1}}',
        b'{"program_id": 1, "job_type": "quick", "job_parameters": {"a": "\\u0000"}}',
        b'{"program_id": 1, "job_type": "qu\\u0000ick"}',
        b'{"program_id": 1, "job_type": "quick", "folder_id": "\\ud83d"}',
        b'{"program_id": 1, "job_type": "\xff"}',
        b'\xef\xbb\xbf{"program_id": 1, "job_type": "quick"}',
        '{"program_id": 1, "job_type": "quick"}'.encode("utf-16"),
        b'{"program_id": true, "job_type": "quick"}',
        b'{"program_id": 1.0, "job_type": "quick"}',
        b'{"program_id": 1, "job_type": ""}',
        b'{"program_id": 1, "job_type": "quick", "user_id": ' + b"9" * 5_000 + b"}",
        b'{"program_id": 1, "job_type": "quick", "job_parameters": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
        b'{"program_id": 1, "job_type": "quick", "job_parameters": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}",
        b'{"program_id": 1, "job_type": "quick", "job_parameters": {"a": "' + b"x" * 1_000_001 + b'"}}',
        b'{"program_id": 1, "job_type": "quick", "job_parameters": {"a": [' + b"[]," * 50_000 + b"1]}}",
        b'{"program_id": 1, "job_type": "quick", "job_parameters": {"a": "\\\\", "b": [' + b"1," * 50_000 + b"1]}}",
        json.dumps(JOB | {f"k{number}": 0 for number in range(100)}).encode(),
    ],
    ids=lambda body: repr(body[:70]),
)
def test_a_body_that_two_readers_could_understand_differently_is_refused(steady: Served, body: bytes) -> None:
    assert mistakes(post(steady, body))
    assert steady.client.get("/job-queue/jobs/1").json()["jobs"] == []


def test_a_body_that_is_not_called_json_is_refused(steady: Served) -> None:
    answer = steady.client.post("/job-queue/jobs", content=json.dumps(JOB), headers={"Content-Type": "text/plain"})
    assert mistakes(answer)["body"][1] == "Send a JSON object with `Content-Type: application/json`."


@pytest.mark.parametrize(
    "moment",
    ["0001-01-01T00:00:00+14:00",
     "0001-01-01T00:00:00Z", "1899-12-31T23:59:59Z", "9999-12-31T23:59:59Z",
     "9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z",
     "1700000000", "2030-02-30T00:00:00Z", "tomorrow", "2030-01-01", "2030-01-01T10:00:00+99:00", ""],
)
def test_a_time_that_no_calendar_has_is_refused(steady: Served, moment: str) -> None:
    assert mistakes(steady.client.post("/job-queue/jobs", json={**JOB, "scheduled_at": moment}))


def test_a_time_at_the_end_of_the_calendar_is_kept_and_shown(served: Served) -> None:
    for moment in (
        "1900-01-01T00:00:00Z", "1900-01-01T10:00:00+10:00", "9998-12-31T23:59:59.999999Z", "9999-01-01T00:00:00+14:00"
    ):
        added = served.client.post("/job-queue/jobs", json={**JOB, "scheduled_at": moment})
        assert added.status_code == 201
        shown = served.client.get(added.headers["Location"])
        assert shown.status_code == 200
        assert shown.json()["scheduled_at"] == added.json()["scheduled_at"]
    assert served.client.get("/job-queue/status").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/job-queue/jobs/x", "/job-queue/jobs/1_0", "/job-queue/jobs/2147483648", "/job-queue/jobs/1.0",
        "/job-queue/jobs/1/00", "/job-queue/jobs/1/9223372036854775808", "/job-queue/jobs/1/" + "9" * 5_000,
        "/job-queue/jobs/1?limit=0", "/job-queue/jobs/1?limit=101", "/job-queue/jobs/1?limit=x",
        "/job-queue/jobs/1?status=gone", "/job-queue/jobs/1?page=2", "/job-queue/jobs/1?job_type=a%00b",
        "/job-queue/jobs/1?cursor=x", "/job-queue/jobs/1?cursor=", "/job-queue/jobs/1?cursor=YmVmb3JlOjEyMw=",
        "/job-queue/jobs/1?cursor=YmVmb3JlOjA", "/job-queue/jobs/1?cursor=%ff", "/job-queue/jobs/%F0%9F%98%80",
    ],
)
def test_an_address_that_does_not_fit_is_refused(steady: Served, path: str) -> None:
    assert mistakes(steady.client.get(path))


def test_an_unknown_address_is_not_found_and_a_wrong_method_names_the_right_one(steady: Served) -> None:
    assert is_problem(steady.client.get("/job-queue/nothing"), 404) == NOT_FOUND
    refused = steady.client.delete("/job-queue/status")
    assert is_problem(refused, 405)["title"] == "Method not allowed"
    assert refused.headers["Allow"] == "GET, HEAD"
    assert is_problem(steady.client.get("/job-queue/stop-processor"), 405)["detail"].endswith("Use POST.")


def test_many_commas_in_a_text_are_no_values(served: Served) -> None:
    text = '"[,{' * 100_000
    added = served.client.post("/job-queue/jobs", json={**JOB, "job_parameters": {"text": text}})
    assert added.status_code == 201
    assert added.json()["job_parameters"] == {"text": text}


def test_no_answer_leads_to_where_the_client_says_that_it_is(steady: Served) -> None:
    for path in ("/", "/job-queue/status/", "/docs/", "/job-queue//status"):
        answer = steady.client.get(path, headers={"Host": "localhost:1", "X-Forwarded-Host": "elsewhere.test"})
        assert answer.headers.get("Location") == ("/docs" if path == "/" else None)
        assert answer.status_code == (307 if path == "/" else 404)


def test_head_is_answered_as_get_is_and_without_a_body(steady: Served) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/", "/docs", "/docs/start.js", "/openapi.json", "/job-queue/status",
                 "/job-queue/jobs/1", "/job-queue/jobs/1/1", "/job-queue/jobs/x", "/nothing", "/job-queue/stop-processor"):
        asked, told = steady.client.get(path), steady.client.head(path)
        assert (told.status_code, told.content) == (asked.status_code, b""), path
        for name in ("Content-Type", "ETag", "Location", "Allow"):
            assert told.headers.get(name) == asked.headers.get(name), (path, name)
        assert path == "/metrics" or told.headers.get("Content-Length") == asked.headers.get("Content-Length"), path
    tag = steady.client.head("/job-queue/jobs/1").headers["ETag"]
    assert steady.client.head("/job-queue/jobs/1", headers={"If-None-Match": tag}).status_code == 304


@on_sqlite
def test_what_nobody_expected_is_told_with_an_id_that_the_log_knows(tmp_path: Path, database_url: str) -> None:
    file = tmp_path / "jobqueue.yaml"
    file.write_text(json.dumps({"database_url": database_url, "api": {"auth": "none"}}))
    app = make_api(Services(lambda: load(file)))

    @app.get("/broken/{word}")
    def broken(word: str) -> None:
        raise LookupError("the marked reason")

    with capture_logs() as logged, serving(app) as url:
        answer = httpx2.get(f"{url}/broken/hostile", trust_env=False)
    problem = is_problem(answer, 500)
    assert "marked" not in answer.text
    assert "Traceback" not in answer.text
    assert problem["error_id"] in problem["detail"]
    [entry] = [each for each in logged if each["event"] == "api.failed"]
    assert (entry["error_id"], entry["path"], entry["exc_info"]) == (problem["error_id"], "/broken/{word}", True)


@pytest.mark.parametrize("settings", [{"database_url": "mysql://x"}, {"nonsense": 1}])
def test_an_api_without_a_usable_configuration_starts_and_says_so(
    server: Callable[..., Served], tmp_path: Path, settings: dict[str, Any]
) -> None:
    served = server(**{"database_url": f"sqlite:///{tmp_path}/queue.db"} | settings)
    assert served.client.get("/livez").json() == {"status": "ok"}
    refused = is_problem(served.client.get("/job-queue/status"), 503)
    assert refused["title"] == "Not configured"
    ready = served.client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)


def test_an_api_whose_configuration_comes_later_works_then(server: Callable[..., Served], tmp_path: Path) -> None:
    served = server("")
    assert served.client.get("/job-queue/status").status_code == 503
    engine = open_engine(f"sqlite:///{tmp_path}/queue.db")
    (tmp_path / "jobqueue.yaml").write_text(json.dumps({"database_url": str(engine.url), "api": {"auth": "none"}}))
    engine.dispose()
    assert is_problem(served.client.get("/job-queue/status"), 503)["title"] == "Schema mismatch"
