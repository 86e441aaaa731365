"""SQLite and its disk: power lost at any moment, disks that are full or fail, writers without end, readers that never leave."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest

from .disk import AS_OPENED, Workload, close_watched, fail_once, verdicts
from .power import FAILED, SYNCS, Call, Disk
from .writers import FAIR, LONGEST_GAP, serve

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
JOURNALS = pytest.mark.parametrize("journal", ["wal", "rollback"])


@pytest.fixture
def before(sqlite_template: Path, tmp_path: Path) -> Path:
    """A folder with a database that watches itself, closed and on the disk."""
    folder = tmp_path / "before"
    folder.mkdir()
    shutil.copy(sqlite_template, folder / "queue.db")
    close_watched(folder)
    return folder


@JOURNALS
def test_no_acknowledged_job_is_lost_with_the_power(before: Path, tmp_path: Path, journal: str) -> None:
    workload = Workload(before, tmp_path, journal, 8, AS_OPENED)
    assert sum(call.name in SYNCS for call in workload.calls) > 12
    assert list(verdicts(workload, tmp_path, 60)) == []


@pytest.mark.parametrize(("journal", "synchronous"), [("wal", "NORMAL"), ("rollback", "FULL")])
def test_the_loss_would_show_with_one_degree_less_of_synchronous(
    before: Path, tmp_path: Path, journal: str, synchronous: str
) -> None:
    workload = Workload(before, tmp_path, journal, 8, [synchronous])
    assert any("was acknowledged and is gone" in verdict for verdict in verdicts(workload, tmp_path, 60))


def test_what_a_failed_sync_was_to_keep_is_not_found_though_the_next_one_succeeds(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"before")
    name, disk = str(tmp_path / "file"), Disk(tmp_path)
    disk.do(Call("pwrite64", name, 0, b"BE"))
    disk.do(Call(FAILED, name))
    disk.do(Call("pwrite64", name, 5, b"E"))
    disk.do(Call("fsync", name))
    assert disk.found(Random(1)) == {"file": b"beforE"}


@JOURNALS
@pytest.mark.parametrize("call", ["fsync", "pwrite64"])
def test_a_disk_that_fails_once_costs_no_job_even_if_it_forgets_what_a_failed_sync_was_to_keep(
    before: Path, tmp_path: Path, journal: str, call: str
) -> None:
    """Every position of every system call is `python -m tests.faults errors`."""
    trial = fail_once(before, tmp_path, journal, call, 21)
    assert trial.problems == []
    assert trial.acknowledged >= 6


def test_a_folder_that_could_not_keep_the_logs_name_takes_no_job_away_with_the_power(before: Path, tmp_path: Path) -> None:
    """SQLite goes on when the sync of the folder fails that follows its first one of the log."""
    trial = fail_once(before, tmp_path, "wal", "fsync", 3)
    assert trial.is_of_the_folder
    assert trial.problems == []


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_of_16_writers_none_starves_and_no_heartbeat_among_them_is_late(database_url: str) -> None:
    """Minutes of it are `python -m tests.faults writers`."""
    served = serve(database_url, 3.0)
    assert served.fairness >= FAIR, served
    assert max(served.gaps) < LONGEST_GAP, served
