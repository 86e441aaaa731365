"""A database with programs, and a Drive server, for the tests of indexing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from backends import open_engine, upgrade
from tests.apps.application import Base
from tests.apps.context import Installation
from tests.drive import DriveServer


@pytest.fixture
def installation(engine: Engine) -> Installation:
    """On SQLite, then on Postgres."""
    return Installation(engine)


@pytest.fixture
def sqlite_installation(tmp_path: Path) -> Iterator[Installation]:
    """On SQLite, for what does not concern the database."""
    engine = open_engine(f"sqlite:///{tmp_path}/jobqueue.db")
    upgrade(engine)
    yield Installation(engine)
    engine.dispose()


@pytest.fixture
def server() -> Iterator[DriveServer]:
    """A Drive server with an empty Drive; fails the test if anything broke the discovery document."""
    with DriveServer() as server:
        yield server


@pytest.fixture
def db(engine: Engine) -> Iterator[Session]:
    """A Session of an application with tables of its own in the queue's database."""
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
