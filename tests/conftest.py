"""Databases for the tests: a SQLite file and a Postgres database each, fresh for every test, on one real server a run."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from backends import open_engine, upgrade
from tests.postgres import PrivatePostgres

BACKENDS = os.environ.get("JOBQUEUE_TEST_BACKENDS", "sqlite,postgresql").split(",")
_SERVER = "JOBQUEUE_TEST_SERVER"
_own: list[PrivatePostgres] = []


def pytest_configure(config: pytest.Config) -> None:
    """Start the run's Postgres once, in the process that distributes the tests; the others find it by its URL."""
    if hasattr(config, "workerinput") or "postgresql" not in BACKENDS or os.environ.get(_SERVER):
        return
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        os.environ[_SERVER] = given
        return
    server = PrivatePostgres()
    _own.append(server)
    os.environ[_SERVER] = server.start().url()


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait, for a lease to lapse or a process to end, for a quarter of their time."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what `pytest_configure` started."""
    while _own:
        _own.pop().remove()
        os.environ.pop(_SERVER, None)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """`sqlite` or `postgresql`: a test that asks for it, or for a database, runs on both."""
    return str(request.param)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    engine = open_engine(f"sqlite:///{path}", journal="rollback")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[str]:
    """The name of a migrated database to copy; one for each process of the run."""
    name = f"template_{uuid.uuid4().hex[:12]}"
    _administer(f'CREATE DATABASE "{name}"')
    engine = open_engine(server_url(name))
    upgrade(engine)
    engine.dispose()
    yield name
    _administer(f'DROP DATABASE "{name}" WITH (FORCE)')


def server_url(database: str) -> str:
    """The URL of a database on the run's server."""
    base, _, options = os.environ[_SERVER].partition("?")
    return f"{base.rpartition('/')[0]}/{database}" + (f"?{options}" if options else "")


def _administer(statement: str) -> None:
    with psycopg.connect(os.environ[_SERVER], autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture
def database_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    if backend == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "queue.db")
        yield f"sqlite:///{tmp_path}/queue.db"
        return
    yield from _postgres_database(f'TEMPLATE "{request.getfixturevalue("postgres_template")}"')


@pytest.fixture
def empty_database_url(backend: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without our tables."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    yield from _postgres_database("")


def _postgres_database(how: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    _administer(f'CREATE DATABASE "{name}" {how}')
    yield server_url(name)
    _administer(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on `database_url`."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()
