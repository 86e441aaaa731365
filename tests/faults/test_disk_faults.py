"""SQLite and its disk: power lost at any moment, disks that are full or fail, writers without end, readers that never leave."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import text

from backends import Queue, open_engine
from tests.chaos import witness
from tests.chaos.checker import Evidence, check, gather
from tests.chaos.history import Event, read_histories
from tests.machine.machine import TYPES

from .power import SYNCS, Call, losses, trace
from .workload import drain
from .writers import FAIR, LONGEST_GAP, serve

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
JOURNALS = pytest.mark.parametrize("journal", ["wal", "rollback"])
AS_OPENED: list[str] = []


@pytest.fixture
def before(sqlite_template: Path, tmp_path: Path) -> Path:
    """A folder with a database that watches itself, closed and on the disk."""
    folder = tmp_path / "before"
    folder.mkdir()
    shutil.copy(sqlite_template, folder / "queue.db")
    engine = open_engine(f"sqlite:///{folder}/queue.db")
    Queue(engine).register(TYPES, "test")
    witness.install(engine)
    engine.dispose()
    for each in folder.glob("queue.db?*"):
        each.unlink()
    return folder


class Workload:
    """One run of the workload in a copy of a folder, and the system calls it made."""

    def __init__(self, before: Path, tmp_path: Path, journal: str, jobs: int, synchronous: list[str], *options: str) -> None:
        self.before, self.journal = before, journal
        self.folder, self.histories = tmp_path / "disk", tmp_path / "histories"
        shutil.copytree(before, self.folder)
        self.histories.mkdir()
        url = f"sqlite:///{self.folder}/queue.db"
        command = ["-m", "tests.faults.workload", url, str(self.histories), journal, str(jobs), *synchronous]
        self.lines = tmp_path / "trace"
        self.calls = trace(command, self.lines, *options, cwd=Path(__file__).parents[2])

    def said_by(self, count: int) -> list[Event]:
        """What the workload had written down when it had made so many calls."""
        notes = sum(call.name == "write" and call.path.endswith(".history") for call in self.calls[:count])
        return read_histories(self.histories)[:notes]


def recovered(folder: Path, journal: str, said: list[Event]) -> Evidence:
    """Start anew on these files, and bring all to its end; what was said before counts."""
    engine, history = open_engine(f"sqlite:///{folder}/queue.db", journal=journal), list(said)

    def note(op: str, what: str, job: int = 0, lease: int = 0, key: str = "") -> None:
        history.append(Event(time.monotonic(), "later", op, what, job, lease, key))

    try:
        with engine.connect() as connection:
            assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
        drain(Queue(engine), note)
        found = gather(engine, folder)
    finally:
        engine.dispose()
    return Evidence(history, found.changes, found.effects, found.rows, found.attempts)


def verdicts(workload: Workload, tmp_path: Path, number: int) -> Iterator[str]:
    """What is broken after each of so many losses of power."""
    for count, files in losses(workload.before, moved(workload), Random(1), number):
        folder = tmp_path / "found"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        for violation in check(recovered(folder, workload.journal, workload.said_by(count))):
            yield f"after {count} of {len(workload.calls)} calls: {violation}"
        shutil.rmtree(folder)


def moved(workload: Workload) -> list[Call]:
    """The calls, as if they had been made in the folder as it was before."""
    here, there = str(workload.folder), str(workload.before)
    return [Call(call.name, call.path.replace(here, there), call.at, call.data) for call in workload.calls]


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


@JOURNALS
@pytest.mark.parametrize("calls", ["fsync,fdatasync", "pwrite64"])
def test_a_disk_that_fails_once_costs_no_job_and_no_sync_is_tried_again(
    before: Path, tmp_path: Path, journal: str, calls: str
) -> None:
    workload = Workload(before, tmp_path, journal, 8, AS_OPENED, "-e", f"inject={calls}:error=EIO:when=21")
    lines = workload.lines.read_text().splitlines()
    [failed] = [number for number, line in enumerate(lines) if line.endswith("(INJECTED)")]
    said = read_histories(workload.histories)
    assert check(recovered(workload.folder, journal, said)) == []
    assert sum(event.what == "ok" for event in said) >= 6
    if "fsync" in calls:
        file = lines[failed].partition("<")[2].partition(">")[0]
        again = [line.split()[1].partition("(")[0] for line in lines[failed + 1:] if file in line]
        assert again[0] not in SYNCS, "what the disk may have dropped was not written again before it was called synced"


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_of_16_writers_none_starves_and_no_heartbeat_among_them_is_late(database_url: str) -> None:
    """Minutes of it are `python -m tests.faults writers`."""
    served = serve(database_url, 3.0)
    assert served.fairness >= FAIR, served
    assert max(served.gaps) < LONGEST_GAP, served
