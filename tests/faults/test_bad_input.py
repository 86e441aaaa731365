"""Rows B of the fault matrix: what no program should send and no handler should do, and that it stops nobody else."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from backends import BadParameters, NewJob, Queue, Status, open_engine
from tests.backends.hostile import hostile_values, insert_sql
from tests.support import REPOSITORY, eventually

from .watched import ON_ONE_DATABASE, Watch


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


HOSTILE: dict[str, dict[str, Any]] = {
    "10 MB": {"parameters": {"a": "x" * 10_000_000}},
    "100,000 levels": {"parameters": {"a": nested(100_000)}},
    "no number": {"parameters": {"a": float("nan")}},
    "NUL": {"parameters": {"a": "\0"}},
    "half a character": {"parameters": {"\ud800": 1}},
    "one key twice": {"parameters": {1: "a", "1": "b"}},
    "the year 9999": {"scheduled_at": datetime(9999, 12, 31, tzinfo=UTC)},
}
BOMBS = {
    "merges": "\n".join(["x0: &x0 {a: 1}"] + [f"x{n}: &x{n} {{<<: [{', '.join([f'*x{n - 1}'] * 9)}]}}" for n in range(1, 12)]),
    "aliases": "\n".join(["x0: &x0 [l, o, l]"] + [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 12)]),
    "one key twice": "workers: 1\nworkers: 2",
    "a tag": "run_dir: !!python/object/apply:os.system [ls]",
    "100 MB": "#" * 100_000_000,
    "a password where none belongs": "workers: {database_url: 'postgresql://me:sesame@host/db'}",
}


def test_b1_hostile_parameters_are_refused_alike_or_lived_with_and_no_worker_dies_of_them(watch: Watch, backend: str) -> None:
    scene = watch.scene().start()
    workers, engine = scene.worker_pids, open_engine(watch.url)
    for name, fields in HOSTILE.items():
        with pytest.raises(BadParameters):
            assert Queue(engine).enqueue([NewJob("quick", 1, **fields)]) is None, name
    accepted = 0
    for value in hostile_values(backend)["job_parameters"]:
        try:
            accepted += bool(insert_sql(engine, {"job_type": "'quick'", "job_parameters": value, "max_retries": "0"}))
        except DBAPIError:
            continue
    engine.dispose()
    eventually(lambda: scene.queue.counts().pending == scene.queue.counts().running == 0, within=20)
    assert accepted
    [after] = scene.enqueue("quick")
    scene.becomes(after, Status.COMPLETED)
    assert scene.worker_pids == workers
    assert not scene.events("worker.lost")
    of_others = [each for each in watch.violations() if each.promise != "G2"]  # no client wrote down what came by hand
    assert of_others == []
    assert scene.stop() == 0


@ON_ONE_DATABASE
def test_b2_a_hostile_configuration_is_refused_with_its_line_and_the_old_one_stays(watch: Watch) -> None:
    """On one database: the file is read before any is spoken to."""
    scene = watch.scene().start()
    workers, good = scene.worker_pids, scene.config.read_text()
    problems: list[list[str] | None] = [None]
    for text in BOMBS.values():
        scene.config.write_text(text)
        scene.send(signal.SIGHUP)
        eventually(lambda: scene.status["reload_refused"] != problems[-1])
        problems.append(scene.status["reload_refused"])
    for name, said in zip(BOMBS, problems[1:], strict=True):
        assert said, name
        expect_its_place(name, said[0])
        assert "Problem(" not in "".join(said), said
    assert "sesame" not in scene.log.read_text()
    [job_id] = scene.enqueue("quick")
    scene.becomes(job_id, Status.COMPLETED)
    assert scene.worker_pids == workers
    assert scene.stop() == 0
    scene.config.write_text(good)
    assert watch.violations() == []


@pytest.mark.parametrize("name", BOMBS)
def test_b2_no_supervisor_starts_with_a_hostile_configuration(tmp_path: Path, name: str) -> None:
    config = tmp_path / "jobqueue.yaml"
    config.write_text(BOMBS[name])
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.supervisor.run_one", str(config)], cwd=REPOSITORY, capture_output=True, text=True,
        timeout=60, check=False,
    )
    assert done.returncode == 78, done.stderr
    expect_its_place(name, done.stderr.splitlines()[0])
    assert "Traceback" not in done.stderr
    assert "sesame" not in done.stderr
    assert time.monotonic() - began < 20


def expect_its_place(name: str, said: str) -> None:
    """The line and column stand in what was said, but for a file that is refused unread, for its size."""
    place = "" if name == "100 MB" else r":\d+:\d+"
    assert re.search(rf"/jobqueue\.yaml{place}: error\[CFG-", said), (name, said)


@ON_ONE_DATABASE
def test_b3_a_job_whose_handler_is_gone_waits_and_results_that_nobody_can_keep_end_no_worker(watch: Watch) -> None:
    """On one database: what a worker makes of its handlers and of their results comes before anything that it writes."""
    scene = watch.scene(retry={"max_retries": 0}).start()
    jobs = [scene.enqueue("returns_nonsense", what=what)[0] for what in ("giant", "unserialisable")]
    [unspeakable] = scene.enqueue("raises_the_unspeakable")
    for job_id in jobs:
        eventually(lambda job_id=job_id: scene.job(job_id).status in (Status.COMPLETED, Status.FAILED))  # type: ignore[misc]
    scene.becomes(unspeakable, Status.FAILED)
    assert not scene.events("worker.lost")
    assert scene.stop() == 0
    types = dict(scene.settings["job_types"])
    scene.settings["job_types"] = {name: each for name, each in types.items() if name != "quick"}
    scene.start()
    [orphaned] = scene.enqueue("quick")
    [other] = scene.enqueue("raises_keyboard_interrupt")
    scene.becomes(other, Status.FAILED)
    assert (scene.job(orphaned).status, scene.job(orphaned).retry_count) == (Status.PENDING, 0)
    assert scene.stop() == 0
    scene.settings["job_types"] = types
    scene.start()
    scene.becomes(orphaned, Status.COMPLETED)
    assert scene.stop() == 0
    assert watch.violations() == []
