"""SQLite and its disk: power lost at any moment, disks that are full or fail, writers without end, readers that never leave."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest

from tests.permitted import needs

from .disk import AS_OPENED, FEWEST, JOBS, RECOVERED, Workload, close_watched, fail_once, refuse_writes, verdicts
from .power import FAILED, SYNCS, Call, Disk
from .writers import FAIR, LONGEST_WAIT, serve

JOURNALS = pytest.mark.parametrize("journal", ["wal", "rollback"])


@pytest.fixture(autouse=True)
def strace() -> None:
    """What records system calls, and makes them fail."""
    needs("strace")


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


@pytest.mark.parametrize(
    ("journal", "call", "position"),
    [("wal", "fsync", 17), ("wal", "pwrite64", 21), ("rollback", "fsync", 13), ("rollback", "pwrite64", 21)],
)
def test_a_disk_that_fails_once_costs_no_job_even_if_it_forgets_what_a_failed_sync_was_to_keep(
    before: Path, tmp_path: Path, journal: str, call: str, position: int
) -> None:
    """The failure is one of a commit, and told. Every position of every call is `python -m tests.faults errors`."""
    trial = fail_once(before, tmp_path, journal, call, position)
    assert trial.problems == []
    assert FEWEST <= trial.acknowledged < JOBS
    assert trial.recovered_in < RECOVERED
    assert trial.opened_anew, "the connection that failed was used again"


@JOURNALS
def test_a_file_system_that_is_read_only_for_a_while_refuses_jobs_and_takes_them_again(
    before: Path, tmp_path: Path, journal: str
) -> None:
    """As near as it can be had: the kernel makes no file system read-only while files are open for writing."""
    said, problems = refuse_writes(before, tmp_path, journal, 70, 89)
    answers = [event.what for event in said if event.op == "enqueue" and event.what != "invoke"]
    assert problems == []
    assert answers[0] == answers[-1] == "ok"
    assert answers.count("unknown") >= 2


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
    assert max(served.waits) < LONGEST_WAIT, served
