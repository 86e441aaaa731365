"""Who sees which programs over HTTP, and who may do what in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine, select

from apps.http.problems import NOT_FOUND
from backends import NewJob, Queue, users
from tests.apps.http.conftest import Person, Served
from tests.apps.http.scene import Switch, audited

NEW = {"program_id": 1, "job_type": "quick"}
Ask = Callable[[httpx2.Client, int, int], httpx2.Response]

LOOKS: dict[str, Ask] = {
    "list": lambda client, program_id, job_id: client.get(f"/job-queue/jobs/{program_id}"),
    "search": lambda client, program_id, job_id: client.get(f"/indexing/search/{program_id}?q=budget"),
    "show": lambda client, program_id, job_id: client.get(f"/job-queue/jobs/{program_id}/{job_id}"),
}
CHANGES: dict[str, Ask] = {
    "add": lambda client, program_id, job_id: client.post("/job-queue/jobs", json=NEW | {"program_id": program_id}),
    "cancel": lambda client, program_id, job_id: client.post(f"/job-queue/jobs/{job_id}/cancel"),
    "retry": lambda client, program_id, job_id: client.post(f"/job-queue/jobs/{job_id}/retry"),
    "reset": lambda client, program_id, job_id: client.post(f"/indexing/reset-stuck-jobs/{program_id}"),
}


@pytest.fixture
def guarded(server: Callable[..., Served], database_url: str) -> Served:
    """An API that wants tokens."""
    return server(database_url, processor=Switch(), api={"auth": "tokens"})


def jobs_of(queue: Queue, *program_ids: int) -> list[int]:
    """A cancelled job in each program."""
    ids = queue.enqueue([NewJob("quick", program_id) for program_id in program_ids])
    for job_id in ids:
        queue.cancel(job_id)
    return ids


def test_what_is_foreign_is_answered_with_the_bytes_of_what_is_missing(
    guarded: Served, queue: Queue, person: Person, engine: Engine
) -> None:
    [_, foreign] = jobs_of(queue, 1, 2)
    with guarded.as_user(person("anna", {1: "admin"})) as anna:
        for name, ask in (LOOKS | CHANGES).items():
            answers = [ask(anna, 2, foreign), ask(anna, 3, 999)]
            statuses = [answer.status_code for answer in answers]
            assert statuses == [404, 404], f"{name}: a foreign id is answered otherwise than a missing one"
            assert answers[0].json() == NOT_FOUND
            assert answers[0].content == answers[1].content
            assert set(answers[0].headers) == set(answers[1].headers)
        assert anna.get(f"/job-queue/jobs/1/{foreign}").json() == NOT_FOUND
    assert audited(engine) == []


def test_who_only_looks_is_refused_changes_and_sees_that_there_is_something(
    guarded: Served, queue: Queue, person: Person, engine: Engine
) -> None:
    [job_id] = jobs_of(queue, 1)
    with guarded.as_user(person("vera", {1: "viewer"})) as vera:
        assert {ask(vera, 1, job_id).status_code for ask in LOOKS.values()} == {200}
        refused = {name: ask(vera, 1, job_id) for name, ask in CHANGES.items()}
    assert {answer.status_code for answer in refused.values()} == {403}
    assert refused["cancel"].json()["detail"] == "This needs the role operator in the program."
    assert audited(engine) == []


def test_an_operator_changes_what_is_theirs_under_their_own_name(
    guarded: Served, queue: Queue, person: Person, engine: Engine
) -> None:
    [job_id] = jobs_of(queue, 1)
    with guarded.as_user(person("otto", {1: "operator"})) as otto:
        assert CHANGES["retry"](otto, 1, job_id).status_code == 200
        assert CHANGES["cancel"](otto, 1, job_id).status_code == 200
        assert CHANGES["reset"](otto, 1, job_id).status_code == 200
        added = CHANGES["add"](otto, 1, job_id).json()
    assert added["user_id"] == id_of(engine, "otto")
    assert {entry[0] for entry in audited(engine)} == {"otto"}
    assert [entry[1] for entry in audited(engine)] == ["job.retry", "job.cancel", "jobs.reset_stuck", "job.create"]


def test_only_an_administrator_names_another_user(guarded: Served, person: Person, engine: Engine) -> None:
    otto, root = person("otto", {1: "operator"}), person("root", is_admin=True)
    with guarded.as_user(otto) as client:
        own = NEW | {"user_id": id_of(engine, "otto")}
        assert client.post("/job-queue/jobs", json=own).status_code == 201
        for other in (own["user_id"] + 1, None):
            assert client.post("/job-queue/jobs", json=NEW | {"user_id": other}).status_code == 403
    with guarded.as_user(root) as client:
        assert client.post("/job-queue/jobs", json=NEW).json()["user_id"] == id_of(engine, "root")
        for other in (77, None):
            assert client.post("/job-queue/jobs", json=NEW | {"user_id": other}).json()["user_id"] == other


def test_a_user_counts_and_the_administrator_counts_all(guarded: Served, queue: Queue, person: Person) -> None:
    queue.enqueue([NewJob("other", 2), NewJob("quick", 1)])
    with guarded.as_user(person("vera", {1: "viewer"})) as vera:
        counted: dict[str, Any] = vera.get("/job-queue/status").json()["queue"]
    assert (counted["pending_jobs"], counted["oldest_pending_job"]["job_type"]) == (1, "quick")
    with guarded.as_user(person("root", is_admin=True)) as root:
        assert root.get("/job-queue/status").json()["queue"]["pending_jobs"] == 2
        assert root.get("/job-queue/jobs/12345").json()["jobs"] == []


def test_the_processor_is_switched_by_administrators_only(guarded: Served, person: Person) -> None:
    with guarded.as_user(person("anna", {1: "admin"})) as anna:
        assert {anna.post(f"/job-queue/{verb}-processor").status_code for verb in ("start", "stop")} == {403}
    with guarded.as_user(person("root", is_admin=True)) as root:
        assert root.post("/job-queue/start-processor").json()["is_processor_running"] is True


def test_without_a_token_nothing_but_the_probes_and_the_documentation_answers(guarded: Served) -> None:
    document = guarded.client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            place = path.replace("{program_id}", "1").replace("{job_id}", "1")
            answer = guarded.client.request(method.upper(), place, json={} if method == "post" else None)
            if "probes" in operation["tags"]:
                assert answer.status_code == 200, place
            else:
                assert answer.status_code == 401, place
                assert answer.headers["WWW-Authenticate"] == "Bearer"


def id_of(engine: Engine, name: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(users.c.id).where(users.c.name == name)).scalar_one())
