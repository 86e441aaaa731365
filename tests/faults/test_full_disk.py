"""Row Q3 of the fault matrix: a disk that becomes full under a running supervisor, and then has room again.

A mount that becomes read-only is not tried: the kernel refuses that while files are open for writing, as a queue's are.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import DatabaseUnavailable, Status
from tests.permitted import cannot_be_done, needs
from tests.supervisor.scene import attempts, is_gone
from tests.support import eventually

from .load import RECOVERY
from .rounds import is_whole_without
from .watched import Watch, WatchedScene

SIZE = 4 * 2**20
"""Bytes: some times what the database and its log take at the beginning."""

NOT_RENEWED = ("interrupted", "its lease could not be renewed for 2.7 s")


class Disk:
    """A file system of so few bytes that a file of our own fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._ballast = folder, folder / "ballast"

    def fill(self) -> None:
        """Leave not one byte."""
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def relieve(self) -> None:
        """Give all that back."""
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small one, empty."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    needs("mount")
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        cannot_be_done("this user may not mount a file system")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def watched(disk: Disk, tmp_path: Path, sqlite_template: Path) -> Iterator[Watch]:
    """A watched database on the small disk; the histories are elsewhere."""
    shutil.copy(sqlite_template, disk.folder / "queue.db")
    watch = Watch(tmp_path, f"sqlite:///{disk.folder}/queue.db")
    yield watch
    watch.close()


def refusals(scene: WatchedScene, number: int) -> list[str]:
    """Ask for jobs until so many were refused; returns what was said. A few may still have had room."""
    said: list[str] = []

    def is_refused_often() -> bool:
        try:
            scene.enqueue("quick")
        except DatabaseUnavailable as error:
            said.append(str(error))
        return len(said) >= number

    eventually(is_refused_often, within=20)
    return said


def goes_on(scene: WatchedScene, job_id: int, maintenance: int, relieved_at: float) -> None:
    """Workers claim again in time, the job in hand ends well, and whoever did not hold it is still there."""
    [after] = eventually(lambda: _accepted(scene), within=RECOVERY)
    scene.becomes(after, Status.COMPLETED, within=RECOVERY)
    assert time.monotonic() - relieved_at < RECOVERY
    scene.until.touch()
    job = scene.becomes(job_id, Status.COMPLETED, within=RECOVERY)
    assert (job.retry_count, job.interruptions) == (0, 1)
    assert attempts(scene, job_id) == [NOT_RENEWED]
    # One that still had room may have been claimed as the disk became full, and been given back later than others were done.
    eventually(lambda: scene.queue.counts().pending + scene.queue.counts().running == 0, within=RECOVERY)
    eventually(lambda: is_whole_without(scene, 0))
    assert scene.maintenance_pid == maintenance
    assert scene.process is not None
    assert scene.process.poll() is None


def _accepted(scene: WatchedScene) -> list[int]:
    with contextlib.suppress(DatabaseUnavailable):
        return scene.enqueue("quick")
    return []


def test_q3_a_full_disk_refuses_jobs_in_clear_words_and_holds_nobody_up_once_there_is_room(watched: Watch, disk: Disk) -> None:
    """Everything lies on it but the notes of who watches: the database and the status file of the supervisor."""
    scene = watched.scene(run_dir=str(disk.folder / "one"))
    (scene.folder / "run").symlink_to(disk.folder / "one")
    scene.start()
    [job_id] = scene.enqueue("lives_until_file")
    runner, maintenance = scene.runner_of(job_id), scene.maintenance_pid
    disk.fill()
    assert set(refusals(scene, 5)) == {"database or disk is full"}
    eventually(lambda: is_gone(runner))
    refusals(scene, 5)
    disk.relieve()
    goes_on(scene, job_id, maintenance, time.monotonic())
    assert scene.stop() == 0
    told = [event for event in scene.events("database.lost") if event["seen_by"] == "maintenance"]
    assert 1 <= len(told) <= 2, "reads go well meanwhile: each would be told as the disk's return"
    assert watched.violations() == []
