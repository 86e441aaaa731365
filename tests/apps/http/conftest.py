"""Served APIs and people, for the tests of HTTP."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine, insert

from apps.access.tokens import create_token
from apps.access.users import add_user
from apps.api import make_api
from apps.http.services import Processor, Services
from backends import Queue, memberships
from config import load
from tests.apps.http.serving import serving


@dataclass(frozen=True)
class Served:
    """An API that is served: where, and a client of it that sends no token."""

    url: str
    client: httpx2.Client
    services: Services

    def as_user(self, token: str) -> httpx2.Client:
        """A client that sends this token."""
        return httpx2.Client(
            base_url=self.url, trust_env=False, timeout=30, headers={"Authorization": f"Bearer {token}"}
        )


def serve(
    stack: ExitStack, folder: Path, database_url: str, processor: Processor | None = None, **settings: Any
) -> Served:
    """Serve the API until the stack closes, with a jobqueue.yaml in this folder; `api: {auth: none}` unless given."""
    file = folder / "jobqueue.yaml"
    file.write_text(json.dumps({"database_url": database_url, "api": {"auth": "none"}} | settings))
    services = Services(lambda: load(file), processor)
    url = stack.enter_context(serving(make_api(services)))
    client = stack.enter_context(httpx2.Client(base_url=url, trust_env=False, timeout=30))
    return Served(url, client, services)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """`server(database_url, processor=None, **settings)` serves the API until the test ends; a second call serves a second."""
    with ExitStack() as stack:
        yield partial(serve, stack, tmp_path)


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Served]:
    """One API on SQLite for all tests of a module, which leave nothing behind: for what does not depend on the database."""
    folder = tmp_path_factory.mktemp("steady")
    shutil.copy(sqlite_template, folder / "queue.db")
    with ExitStack() as stack:
        yield serve(stack, folder, f"sqlite:///{folder}/queue.db", api={"auth": "none", "rate_limit": 10_000})


@pytest.fixture
def served(server: Callable[..., Served], database_url: str) -> Served:
    """An API on a fresh database that lets this host in without a token."""
    return server(database_url)


@pytest.fixture
def queue(engine: Engine) -> Queue:
    """The queue that the API shows."""
    return Queue(engine)


Person = Callable[..., str]


@pytest.fixture
def person(engine: Engine) -> Person:
    """`person("anna", {1: "viewer"}, is_admin=False)` adds a user with roles in programs and returns a token of theirs."""

    def add(name: str, roles: dict[int, str] | None = None, is_admin: bool = False) -> str:
        with engine.begin() as connection:
            user_id = add_user(connection, name, is_admin=is_admin)
            for program_id, role in (roles or {}).items():
                connection.execute(insert(memberships).values(user_id=user_id, program_id=program_id, role=role))
            return create_token(connection, user_id, "test", 600.0).secret

    return add
