"""The probes, and every route, while the database is away, silent, back again, or not of this release."""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from backends import Queue, open_engine, upgrade
from tests.apps.http.conftest import Served
from tests.apps.http.gate import Gate
from tests.apps.http.scene import Switch
from tests.apps.http.test_limits import post
from tests.apps.http.test_limits import serving as limited
from tests.support import eventually

on_postgres = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


def test_a_process_that_can_work_says_so(served: Served) -> None:
    assert served.client.get("/livez").json() == {"status": "ok"}
    ready = served.client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": []})
    assert ready.headers["Cache-Control"] == "no-store"


def test_a_process_that_is_about_to_stop_is_not_ready_and_lives(
    server: Callable[..., Served], database_url: str
) -> None:
    served = server(database_url, processor=Switch(draining=True))
    ready = served.client.get("/readyz")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["this process is about to stop"])
    assert served.client.get("/livez").status_code == 200


def test_a_schema_of_another_release_is_told_with_what_to_do(served: Served, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobqueue_version SET version_num = '0001'"))
    ready = served.client.get("/readyz")
    assert ready.status_code == 503
    assert "supervisor db upgrade" in ready.json()["reasons"][0]
    refused = served.client.get("/job-queue/status")
    assert (refused.status_code, refused.json()["title"]) == (503, "Schema mismatch")


@on_postgres
def test_while_the_database_is_away_requests_may_be_repeated_later(
    server: Callable[..., Served], database_url: str
) -> None:
    with Gate(database_url) as gate:
        served = server(gate.url)
        assert served.client.get("/job-queue/status").status_code == 200
        gate.shut()
        for answer in (
            served.client.get("/job-queue/status"),
            served.client.get("/job-queue/jobs/1"),
            served.client.post("/job-queue/jobs", json={"program_id": 1, "job_type": "quick"}),
        ):
            assert answer.status_code == 503, answer.text
            assert answer.json()["type"] == "/problems/database-unavailable"
            assert answer.headers["Retry-After"] == "2"
            assert "127.0.0.1" not in answer.text
        assert served.client.get("/readyz").json()["reasons"] == ["the database cannot be reached"]
        assert served.client.get("/livez").status_code == 200
        gate.open()
        eventually(lambda: served.client.get("/readyz").status_code == 200)
        assert served.client.get("/job-queue/status").status_code == 200


@on_postgres
def test_a_database_that_says_nothing_keeps_no_probe_waiting(server: Callable[..., Served], database_url: str) -> None:
    with Gate(database_url) as gate:
        served = server(gate.url, database={"connect_timeout": "2s", "statement_timeout": "2s"})
        eventually(lambda: served.client.get("/readyz").status_code == 200)
        gate.freeze()
        for _ in range(4):
            began = time.monotonic()
            ready = served.client.get("/readyz")
            assert time.monotonic() - began < 2.5
            assert ready.status_code == 503
            assert served.client.get("/livez").status_code == 200
        gate.open()
        eventually(lambda: served.client.get("/readyz").status_code == 200, within=20)


def test_those_who_wait_for_a_database_that_never_answers_wait_together(server: Callable[..., Served]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        served = server(f"postgresql://queue@127.0.0.1:{silent.getsockname()[1]}/queue", database={"connect_timeout": "2s"})
        began = time.monotonic()
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda _: served.client.get("/job-queue/status").status_code, range(8)))
        assert answers == [503] * 8
        assert time.monotonic() - began < 8


@on_postgres
def test_a_server_that_was_never_there_is_told_and_found_when_it_comes(
    server: Callable[..., Served], database_url: str
) -> None:
    with Gate(database_url) as gate:
        gate.shut()
        served = server(gate.url)
        assert served.client.get("/job-queue/status").status_code == 503
        gate.open()
        eventually(lambda: served.client.get("/job-queue/status").status_code == 200)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_database_that_somebody_else_writes_all_the_time_is_unavailable(
    server: Callable[..., Served], database_url: str, engine: Engine
) -> None:
    served = server(database_url, database={"connect_timeout": "300ms"})
    with engine.begin() as connection:
        connection.execute(text("UPDATE indexing_jobs SET priority = 1"))
        answer = served.client.post("/job-queue/jobs", json={"program_id": 1, "job_type": "quick"})
        assert answer.status_code == 503
        assert served.client.get("/job-queue/status").status_code == 200
    assert served.client.post("/job-queue/jobs", json={"program_id": 1, "job_type": "quick"}).status_code == 201


def test_a_full_disk_is_told_as_an_unavailable_database_and_what_can_be_read_is_read(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/queue.db")
    upgrade(engine)
    job = json.dumps({"program_id": 1, "job_type": "quick", "job_parameters": {"text": "x" * 90_000}}).encode()
    add = post(job).replace(b"/echo", b"/job-queue/jobs")
    with limited(tmp_path) as served:
        assert served.ask(add)[0] == 201
        full = max(file.stat().st_size for file in tmp_path.glob("queue.db*")) + 200_000
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
        added = [served.ask(add) for _ in range(10)]
        assert {status for status, _ in added} == {201, 503}
        assert b"/problems/database-unavailable" in added[-1][1]
        assert served.ask(post(b"").replace(b"POST /echo", b"GET /job-queue/status"))[0] == 200
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert served.ask(add)[0] == 201
    kept = Queue(engine).counts().pending
    engine.dispose()
    assert kept == 2 + [status for status, _ in added].count(201)
