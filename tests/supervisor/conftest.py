"""A stage on which scenes are set up, and cleared whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .scene import Scene

Stage = Callable[..., Scene]


@pytest.fixture
def stage(tmp_path: Path, database_url: str) -> Iterator[Stage]:
    """`stage(name, **settings)` makes a scene on the test's database; it is not started yet."""
    scenes: list[Scene] = []

    def set_up(name: str = "one", url: str = database_url, **settings: Any) -> Scene:
        scenes.append(Scene(tmp_path, url, name, **settings))
        return scenes[-1]

    yield set_up
    for scene in scenes:
        scene.close()


@pytest.fixture
def quiet_stage(tmp_path: Path) -> Iterator[Stage]:
    """The same on SQLite alone, for what has nothing to do with the database."""
    scenes: list[Scene] = []

    def set_up(name: str = "one", **settings: Any) -> Scene:
        scenes.append(Scene(tmp_path, f"sqlite:///{tmp_path}/queue.db", name, **settings))
        return scenes[-1]

    yield set_up
    for scene in scenes:
        scene.close()
