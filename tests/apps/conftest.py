"""A database with programs, and a Drive server, for the tests of indexing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.apps.context import Installation
from tests.drive import DriveServer


@pytest.fixture
def installation(engine: Engine) -> Installation:
    """On SQLite, then on Postgres."""
    return Installation(engine)


@pytest.fixture
def server() -> Iterator[DriveServer]:
    """A Drive server with an empty Drive; fails the test if anything broke the discovery document."""
    with DriveServer() as server:
        yield server
