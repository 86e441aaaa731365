"""Every route, every kind of caller, every kind of id: what is answered, and that a foreign id is answered as a missing one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import structlog
from fastapi.routing import iter_route_contexts
from sqlalchemy import Engine, update

from apps.access.memberships import grant
from apps.access.tokens import create_token, revoke_token
from apps.access.users import add_user, disable_user
from apps.api import make_api
from backends import JobTypeFacts, NewJob, Queue, Role, api_tokens, later
from tests.apps.http.conftest import Served

OWN, FOREIGN, MISSING = "own", "foreign", "missing"
PROGRAMS = {OWN: 1, FOREIGN: 2, MISSING: 3}
"""`viewer`, `operator` and `admin` have that role in program 1, `stranger` is an admin of program 2, nobody is in program 3."""

NOBODY = ("no token", "malformed", "unknown", "expired", "revoked", "disabled")
MEMBERS = {"viewer": Role.VIEWER, "operator": Role.OPERATOR, "admin": Role.ADMIN}
CALLERS = (*NOBODY, *MEMBERS, "stranger", "root")

Route = tuple[str, str]


@dataclass(frozen=True)
class Rule:
    """What a route asks of its callers. `role`: which one in the program; None: any user; `root`: administrators only.

    `done` is the answer to those who may, `of_missing` to administrators who ask for what is not there.
    """

    role: Role | str | None
    done: int = 200
    of_missing: int = 404
    body: Callable[[int], dict[str, Any]] | None = None
    query: str = ""
    is_over: bool = False


OPEN = {("GET", "/"), ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics")}
"""The way to the documents, and probes; `/metrics` has rules of its own, and a test of them."""

DOCUMENTS = ("openapi.json", "docs", "redoc")
"""The same for every installation, and read by browsers, which send no token when one follows a link."""

RULES: dict[Route, Rule] = {
    ("GET", "/job-queue/status"): Rule(None),
    ("GET", "/job-queue/jobs/{program_id}"): Rule(Role.VIEWER, of_missing=200),
    ("GET", "/job-queue/jobs/{program_id}/{job_id}"): Rule(Role.VIEWER),
    ("POST", "/job-queue/jobs"): Rule(
        Role.OPERATOR, done=201, of_missing=201, body=lambda program: {"program_id": program, "job_type": "count"}
    ),
    ("POST", "/job-queue/jobs/{job_id}/cancel"): Rule(Role.OPERATOR),
    ("POST", "/job-queue/jobs/{job_id}/retry"): Rule(Role.OPERATOR, is_over=True),
    ("POST", "/job-queue/start-processor"): Rule("root", done=409),
    ("POST", "/job-queue/stop-processor"): Rule("root", done=409),
    ("POST", "/indexing/reset-stuck-jobs/{program_id}"): Rule(Role.OPERATOR, of_missing=200),
    ("GET", "/indexing/search/{program_id}"): Rule(Role.VIEWER, of_missing=200, query="?q=word"),
}
"""Every route that needs to know who asks."""


def routes() -> set[Route]:
    """What the application answers, HEAD and its documents aside."""
    found = [(each.methods or {"OTHER"}, str(each.path_format)) for each in iter_route_contexts(make_api().routes)]
    return {(method, path) for methods, path in found for method in methods - {"HEAD"} if not _is_document(path)}


def _is_document(path: str) -> bool:
    return path.split("/")[1] in DOCUMENTS


def expected(rule: Rule, caller: str, target: str) -> int:
    """The status that the table promises."""
    if caller in NOBODY:
        return 401
    if caller == "root":
        return rule.of_missing if target == MISSING and _names_something(rule) else rule.done
    if not _names_something(rule):
        return 403 if rule.role == "root" else rule.done
    roles = {FOREIGN: Role.ADMIN} if caller == "stranger" else {OWN: MEMBERS[caller]}
    role = roles.get(target)
    if role is None:
        return 404
    return rule.done if role in Role(str(rule.role)).and_above else 403


def _names_something(rule: Rule) -> bool:
    return rule.role not in (None, "root")


@dataclass
class World:
    """A served API with programs, jobs and people."""

    served: Served
    queue: Queue
    tokens: dict[str, str | None]

    def ask(self, route: Route, caller: str, target: str) -> httpx2.Response:
        """One request; it names a job of its own when the route names one."""
        method, path = route
        rule, program = RULES[route], PROGRAMS[target]
        job = 99_999_999 if target == MISSING or "{job_id}" not in path else self.job(program, rule.is_over)
        place = path.format(program_id=program, job_id=job) + rule.query
        return self.send(method, place, caller, rule.body and rule.body(program))

    def send(self, method: str, path: str, caller: str, body: Any = None, **headers: str) -> httpx2.Response:
        """A request of a caller."""
        token = self.tokens[caller]
        given = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.served.client.request(method, path, json=body, headers={**given, **headers})

    def job(self, program: int, is_over: bool = False, **given: Any) -> int:
        """A new job of a program."""
        [job] = self.queue.enqueue([NewJob("count", program, **given)])
        if is_over:
            self.queue.cancel(job)
        return job


@pytest.fixture
def world(server: Callable[..., Served], database_url: str, engine: Engine) -> World:
    """Everybody of `CALLERS`, and an API that wants tokens."""
    served = server(database_url, api={"auth": "tokens", "rate_limit": 100_000})
    with engine.begin() as connection:
        ids = {name: add_user(connection, name, is_admin=name == "root") for name in CALLERS}
        new = {name: create_token(connection, ids[name], "test", 600.0) for name in CALLERS}
        for name, role in MEMBERS.items():
            grant(connection, ids[name], PROGRAMS[OWN], role)
        for name in NOBODY:
            grant(connection, ids[name], PROGRAMS[OWN], Role.ADMIN)
        grant(connection, ids["stranger"], PROGRAMS[FOREIGN], Role.ADMIN)
        revoke_token(connection, new["revoked"].id)
        disable_user(connection, ids["disabled"])
        expired = api_tokens.c.id == new["expired"].id
        connection.execute(update(api_tokens).where(expired).values(expires_at=later(-1)))
    tokens: dict[str, str | None] = {name: token.secret for name, token in new.items()}
    tokens |= {"no token": None, "malformed": "jq_", "unknown": f"jq_{'A' * 43}"}
    return World(served, Queue(engine), tokens)


def test_every_route_is_in_the_table() -> None:
    assert routes() - OPEN == set(RULES)


@pytest.mark.parametrize("route", RULES, ids=" ".join)
def test_who_may_do_what(world: World, route: Route) -> None:
    asked = [(caller, target) for caller in CALLERS for target in PROGRAMS]
    answers = {each: world.ask(route, *each) for each in asked}
    statuses = {each: answer.status_code for each, answer in answers.items()}
    assert statuses == {each: expected(RULES[route], *each) for each in asked}
    strangers_too = {"stranger": OWN} | dict.fromkeys(MEMBERS, FOREIGN)
    for caller, hidden in strangers_too.items():
        if statuses[caller, MISSING] == 404:
            assert seen(answers[caller, hidden]) == seen(answers[caller, MISSING]), caller
    assert len({seen(answers[caller, target]) for caller in NOBODY for target in PROGRAMS}) == 1


def seen(answer: httpx2.Response) -> tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]:
    """All that a client can tell an answer by, but for the time of day and the number of the request."""
    headers = tuple(pair for pair in answer.headers.raw if pair[0].lower() not in (b"date", b"x-request-id"))
    return answer.status_code, answer.content, headers


@pytest.mark.parametrize("backend", ["sqlite"])
def test_without_a_token_nothing_is_read_and_the_log_says_how_to_make_one(world: World) -> None:
    with structlog.testing.capture_logs() as logged:
        for method, path in RULES:
            place = path.format(program_id="nonsense", job_id=0)
            for body in (b"", b"{", b"[" * 100_000, b"\xff"):
                answer = world.served.client.request(
                    method, place, content=body, headers={"Content-Type": "application/json"}
                )
                assert answer.status_code == 401, (method, place, body[:2])
    [hint] = [each for each in logged if each["event"] == "request.unauthenticated"]
    assert "supervisor tokens create" in hint["hint"]
    assert world.served.client.get("/").headers["Location"] == "/docs"
    for path in ("/livez", "/readyz", "/openapi.json"):
        assert world.served.client.get(path).status_code == 200


def test_a_job_is_found_in_its_own_program_only(world: World) -> None:
    own, foreign = world.job(1), world.job(2)
    missing = world.send("GET", "/job-queue/jobs/1/99999999", "admin")
    assert missing.status_code == 404
    for place in (f"1/{foreign}", f"2/{own}", f"2/{foreign}", f"3/{own}", f"3/{foreign}", "2/99999999"):
        assert seen(world.send("GET", f"/job-queue/jobs/{place}", "admin")) == seen(missing), place
    assert world.send("GET", f"/job-queue/jobs/1/{own}", "admin").status_code == 200
    assert world.send("GET", f"/job-queue/jobs/1/{foreign}", "root").status_code == 404


def test_no_filter_and_no_cursor_tells_of_a_foreign_program(world: World) -> None:
    foreign = [world.job(2) for _ in range(3)]
    own = world.job(1)
    cursor = world.send("GET", "/job-queue/jobs/2?limit=1", "root").json()["next_cursor"]
    assert cursor is not None
    for query in ("", "?limit=1", "?status=pending", "?status=failed", "?job_type=count", f"?cursor={cursor}"):
        hidden, missing = (world.send("GET", f"/job-queue/jobs/{program}{query}", "viewer") for program in (2, 3))
        assert hidden.status_code == 404
        assert seen(hidden) == seen(missing), query
    jobs = world.send("GET", "/job-queue/jobs/1", "viewer").json()["jobs"]
    assert [job["id"] for job in jobs] == [own]
    behind = world.send("GET", f"/job-queue/jobs/1?cursor={cursor}", "viewer").json()
    assert not {job["id"] for job in behind["jobs"]} & set(foreign)


def test_the_status_counts_what_the_caller_sees(world: World) -> None:
    for _ in range(3):
        world.job(2)
    own = world.job(1)
    world.job(1, is_over=True)
    world.job(2, is_over=True)

    def counted(caller: str) -> tuple[int, int, int | None]:
        queue = world.send("GET", "/job-queue/status", caller).json()["queue"]
        oldest = queue["oldest_pending_job"]
        return queue["pending_jobs"], queue["cancelled_jobs"], oldest and oldest["id"]

    assert counted("viewer") == (1, 1, own)
    assert counted("stranger")[:2] == (3, 1)
    assert counted("root")[:2] == (4, 2)


def test_a_status_does_not_change_when_foreign_jobs_do(world: World) -> None:
    world.job(1)
    tag = world.send("GET", "/job-queue/status", "viewer").headers["ETag"]
    world.job(2)
    again = {"If-None-Match": tag}
    assert world.send("GET", "/job-queue/status", "viewer", **again).status_code == 304
    world.job(1)
    assert world.send("GET", "/job-queue/status", "viewer", **again).status_code == 200


def test_a_unique_key_of_a_foreign_program_is_free_and_says_nothing(world: World) -> None:
    taken = world.job(2, unique_key="nightly")
    wanted = {"job_type": "count", "unique_key": "nightly"}
    hidden, missing = (world.send("POST", "/job-queue/jobs", "operator", wanted | {"program_id": n}) for n in (2, 3))
    assert hidden.status_code == 404
    assert seen(hidden) == seen(missing)
    made = world.send("POST", "/job-queue/jobs", "operator", wanted | {"program_id": 1})
    assert made.status_code == 201
    assert made.json()["id"] != taken
    assert "nightly" not in world.send("GET", f"/job-queue/jobs/1/{taken}", "operator").text


def test_what_a_job_waits_for_does_not_tell_of_foreign_jobs(world: World) -> None:
    ahead, own = world.job(2), world.job(1)
    world.queue.register({"count": JobTypeFacts("everything", 3)}, "supervisor-1")
    world.queue.admit()
    reason = world.send("GET", f"/job-queue/jobs/1/{own}", "viewer").json()["waits_for"]
    assert reason[0] == "waits for lane 'everything', which another job has"
    assert f"job {ahead} is pending" in world.send("GET", f"/job-queue/jobs/1/{own}", "root").json()["waits_for"][0]
