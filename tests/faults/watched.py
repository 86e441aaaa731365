"""Scenes on a database that watches itself: everything enqueued is written down, and so is what becomes of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from backends import NewJob, Queue, Status, open_engine, upgrade
from tests.chaos import witness
from tests.chaos.checker import Evidence, Violation, check, gather
from tests.chaos.history import Recorder, read_histories
from tests.conftest import BACKENDS
from tests.postgres import PrivatePostgres
from tests.supervisor.scene import Scene
from workers import boot_time

HANDLERS = (
    "quick", "lives_until_file", "lives_until_file_once", "outlives_its_lease", "deaf", "greedy", "leaves_quietly", "segfaults",
    "raises_system_exit", "raises_keyboard_interrupt", "raises_the_unspeakable", "leaves_a_fork",
    "eats_memory", "returns_nonsense", "snoozes_once",
)
ON_ONE_DATABASE = pytest.mark.parametrize("backend", BACKENDS[:1], indirect=True)
"""Marks rows in which no database takes part but by jobs that are added and ended: they run on the first of those of the run.

`JOBQUEUE_TEST_BACKENDS=postgresql python -m pytest tests/faults` runs them on Postgres.
"""

TAKEN_BACK = 3 + 6
"""Seconds within which a lost host's jobs run again (G9): `lock_timeout` of the scenes, and 6."""

RUNNABLE = 1.0
"""Seconds from a worker's first death until its job can run again, at most (G9)."""

WHOLE = 2.0
"""Seconds from a worker's first death until as many workers as before can claim, at most (G9 of the fault matrix)."""


class WatchedScene(Scene):
    """A scene whose jobs have keys and histories, so that the checker can tell what became of each."""

    def __init__(self, folder: Path, database_url: str, recorder: Recorder, name: str, **settings: Any) -> None:
        types = {each: {"handler": f"tests.faults.handlers:{each}"} for each in HANDLERS}
        settings["job_types"] = types | settings.get("job_types", {})
        super().__init__(folder, database_url, name, **settings)
        self._histories, self._recorder = folder / "histories", recorder
        self._client = Queue(open_engine(database_url))  # more patient than what looks at the scene
        self._keys = 0

    def enqueue(self, job_type: str, count: int = 1, scheduled_at: datetime | None = None, **parameters: Any) -> list[int]:
        """Add jobs, and write down that they were asked for and acknowledged."""
        given = {"notes": str(self.notes), "until": str(self.until), "histories": str(self._histories)} | parameters
        new = NewJob(job_type, 1, parameters=given, scheduled_at=scheduled_at)
        return [self._enqueue(replace(new, unique_key=self._next_key())) for _ in range(count)]

    def started_at(self, job_id: int, lease: int = 1) -> float:
        """When the handler of that attempt began, by its own word, in seconds of the epoch."""
        said = [event.at for event in read_histories(self._histories)
                if (event.op, event.what, event.job, event.lease) == ("run", "started", job_id, lease)]
        return said[0] + time.time() - boot_time()

    def let_go(self) -> None:
        """Hold no connection."""
        self._client.engine.dispose()
        self.queue.engine.dispose()

    def close(self) -> None:
        """Leave no process behind."""
        self._client.engine.dispose()
        super().close()

    def _next_key(self) -> str:
        self._keys += 1
        return f"{self.folder.name}-{self._keys}"

    def _enqueue(self, new: NewJob) -> int:
        key = str(new.unique_key)
        self._recorder.note("enqueue", "invoke", key=key)
        [job_id] = self._client.enqueue([new])
        self._recorder.note("enqueue", "ok", job_id, key=key)
        return job_id


class Watch:
    """A watched database and the scenes on it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self._histories = folder / "histories"
        self._histories.mkdir()
        self._recorder = Recorder(self._histories, "test")
        self._engine = open_engine(url)
        witness.install(self._engine)
        self._scenes: list[WatchedScene] = []

    def scene(self, name: str = "one", url: str = "", **settings: Any) -> WatchedScene:
        """One supervisor, not started yet."""
        self._scenes.append(WatchedScene(self.folder, url or self.url, self._recorder, name, **settings))
        return self._scenes[-1]

    def let_go(self) -> None:
        """Hold no connection, so that processes can be forked from this one."""
        self._engine.dispose()
        for scene in self._scenes:
            scene.let_go()

    def given_back_at(self, job_id: int, lease: int = 1) -> float:
        """When that attempt was ended and its job could run again, in seconds of the epoch by the database's clock."""
        self._engine.dispose()
        with self._engine.connect() as connection:
            changes = [each for each in witness.read_changes(connection) if (each.job, each.lease) == (job_id, lease)]
        [ended] = [each.at for each in changes if (each.was, each.became) == (Status.RUNNING, Status.PENDING)]
        return ended

    def evidence(self) -> Evidence:
        """What was seen so far; every job is expected to be over."""
        self._engine.dispose()
        return gather(self._engine, self._histories)

    def violations(self) -> list[Violation]:
        """Which promises were broken."""
        return check(self.evidence())

    def close(self) -> None:
        """Leave no process behind."""
        for scene in self._scenes:
            scene.close()
        self._engine.dispose()
        self._recorder.close()


@contextmanager
def watch_of(backend: str) -> Iterator[Watch]:
    """A watched database of its own, `sqlite` or `postgres`, for as long as the body lasts."""
    with ExitStack() as leaving:
        folder = Path(leaving.enter_context(tempfile.TemporaryDirectory(prefix="jobqueue-faults-", dir="/tmp")))
        url = f"sqlite:///{folder}/queue.db"
        if backend != "sqlite":
            server = PrivatePostgres("fsync = on\nfull_page_writes = on").start()
            leaving.callback(server.remove)
            url = server.url()
        engine = open_engine(url)
        upgrade(engine)
        engine.dispose()
        watch = Watch(folder, url)
        leaving.callback(watch.close)
        yield watch
