"""Q6: a program that reads an old state of a SQLite file keeps its log from being emptied; that is told, and ends with it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends import LARGE_LOG, Status, log_size
from tests.support import eventually

from .watched import Watch, WatchedScene

READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN")
print(connection.execute("SELECT count(*) FROM indexing_jobs").fetchone()[0], flush=True)
sys.stdin.read()
"""


@contextmanager
def reader(file: Path) -> Iterator[None]:
    """Another program with a transaction that reads."""
    with subprocess.Popen([sys.executable, "-c", READER, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield


def write(file: Path, size: int) -> None:
    """Have the log grow by this many bytes."""
    connection = sqlite3.connect(file, isolation_level=None, timeout=30)
    connection.execute("CREATE TABLE IF NOT EXISTS ballast (content BLOB)")
    for _ in range(size // 2**22):
        connection.execute("INSERT INTO ballast VALUES (zeroblob(4194304))")
    connection.close()


def run_one(scene: WatchedScene) -> None:
    [job_id] = scene.enqueue("quick")
    scene.becomes(job_id, Status.COMPLETED)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_q6_a_log_that_a_reader_pins_is_told_and_jobs_go_on_and_it_is_emptied_when_the_reader_ends(watch: Watch) -> None:
    file = Path(watch.url.removeprefix("sqlite:///"))
    scene = watch.scene().start()
    with reader(file):
        write(file, LARGE_LOG + 2**23)
        told = scene.seen("database.log_pinned", within=15)
        assert told["bytes"] > LARGE_LOG
        assert (scene.queue.measures(30.0).log_bytes or 0) > LARGE_LOG
        run_one(scene)
    eventually(lambda: (log_size(scene.queue.engine) or 0) < LARGE_LOG / 8, 10)
    run_one(scene)
    assert len(scene.events("database.log_pinned")) == 1
    assert watch.violations() == []
