"""A watched database of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .watched import Watch


@pytest.fixture
def watch(tmp_path: Path, database_url: str) -> Iterator[Watch]:
    """`watch.scene(name, **settings)` makes a supervisor on the test's database, `watch.violations()` says what was broken."""
    watch = Watch(tmp_path, database_url)
    yield watch
    watch.close()
