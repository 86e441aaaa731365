"""Every request that docs/api.md shows is answered as it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from sqlalchemy import Engine

from apps.http.problems import type_of
from backends import JobTypeFacts, Kind, NewJob, Outcome, Queue
from tests.apps.context import Installation
from tests.apps.http.conftest import Served
from tests.apps.http.scene import Switch, index
from tests.apps.http.test_openapi import OPERATIONS
from tests.backends.scene import change, insert_raw, row
from tests.markdown import blocks
from tests.support import REPOSITORY

PAGE = REPOSITORY / "docs" / "api.md"


class Message(NamedTuple):
    """One request or answer as the page shows it."""

    first: str
    headers: dict[str, str]
    body: Any


def read(block: str) -> Message:
    head, _, body = block.strip().partition("\n\n")
    first, *headers = head.splitlines()
    return Message(first, dict(line.split(": ", 1) for line in headers), json.loads(body) if body else None)


SHOWN = [read(block) for block in blocks(PAGE, "http")]
EXAMPLES = list(zip(SHOWN[::2], SHOWN[1::2], strict=True))


def fits(found: Any, shown: Any) -> bool:
    """Whether what was answered has all that is shown, and of the same kind."""
    if isinstance(shown, dict):
        return isinstance(found, dict) and all(key in found and fits(found[key], shown[key]) for key in shown)
    if isinstance(shown, list):
        return isinstance(found, list) and bool(found) >= bool(shown) and all(fits(found[0], each) for each in shown[:1])
    return type(found) is type(shown)


@pytest.fixture
def example(
    server: Callable[..., Served], database_url: str, queue: Queue, engine: Engine, installation: Installation, tmp_path: Path
) -> Served:
    """What the page tells of: a file, job 123 that was tried once and waits, job 124 that is held by nobody who lives."""
    assert index(installation, tmp_path / "files", {"notes/plan.md": "the plan for the second quarter"}) == 1
    queue.register({each: JobTypeFacts(None) for each in ("full_scan", "stuck")}, "tester")
    insert_raw(engine, id=123, job_type="full_scan", created_at="2024-01-01 10:00:00+00:00")
    queue.admit()
    [tried] = queue.claim("host-1:7f3a", ["full_scan"], 1)
    queue.settle("host-1:7f3a", [(tried, Outcome(Kind.FAILED, "no such folder"))])
    queue.enqueue([NewJob("stuck", 1)])
    [stuck] = queue.claim("host-2:99aa", ["stuck"], 1)
    long_ago = row(queue, stuck.id).locked_at - timedelta(hours=1)
    change(engine, stuck.id, locked_at=long_ago, locked_boot=None, locked_boot_seconds=None)
    return server(database_url, processor=Switch())


def ask(served: Served, request: Message) -> httpx2.Response:
    method, path = request.first.split(" ")
    content = None if request.body is None else json.dumps(request.body)
    return served.client.request(method, path, content=content, headers=request.headers)


def test_every_request_of_the_page_is_answered_as_it_shows(example: Served) -> None:
    for request, shown in EXAMPLES:
        answer = ask(example, request)
        assert answer.status_code == int(shown.first.split(" ")[1]), (request.first, answer.text)
        assert set(shown.headers) <= {name.title().replace("Etag", "ETag") for name in answer.headers}
        assert fits(answer.json(), shown.body), (request.first, answer.text)


def test_every_endpoint_has_an_example_on_the_page() -> None:
    asked = {re.sub(r"\?.*", "", request.first) for request, _ in EXAMPLES}
    for name in OPERATIONS:
        pattern = re.sub(r"\{\w+\}", "[0-9]+", name)
        assert name == "GET /metrics" or any(re.fullmatch(pattern, first) for first in asked), name


def test_every_kind_of_problem_is_in_the_table() -> None:
    listed = set(re.findall(r"`(/problems/[a-z-]+)`", PAGE.read_text(encoding="utf-8")))
    sources = "".join(file.read_text(encoding="utf-8") for file in (REPOSITORY / "apps" / "http").glob("*.py"))
    titles = re.findall(r'(?:Problem|__init__|_refuse\w*)\(\s*[0-9]{3},\s*"([^"]+)"', sources)
    assert len(titles) > 10
    assert {type_of(title) for title in titles} <= listed
