"""A workload on a SQLite file whose system calls are recorded, and one of them made to fail; what is found there afterwards."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from random import Random

from sqlalchemy import text

from backends import Queue, open_engine, upgrade
from tests.chaos import witness
from tests.chaos.checker import Evidence, check, gather
from tests.chaos.history import Event, read_histories
from tests.machine.machine import TYPES
from workers import boot_time

from .asked import Asked
from .power import CALLS, FAILED, SYNCS, Call, losses, parsed, trace
from .workload import drain

AS_OPENED: list[str] = []
"""No other `synchronous` than that of the product."""


def close_watched(folder: Path) -> None:
    """Have the database in this folder, `queue.db`, watch itself, and leave it closed and on the disk."""
    engine = open_engine(f"sqlite:///{folder}/queue.db")
    Queue(engine).register(TYPES, "test")
    witness.install(engine)
    engine.dispose()
    for each in folder.glob("queue.db?*"):
        each.unlink()


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
        history.append(Event(boot_time(), "later", op, what, job, lease, key))

    try:
        with engine.connect() as connection:
            assert connection.execute(text("PRAGMA integrity_check")).scalars().all() == ["ok"]
        drain(Queue(engine), note)
        found = gather(engine, folder)
    finally:
        engine.dispose()
    return replace(found, history=history)


# One call that fails

CALLS_THAT_FAIL = ("pwrite64", "fsync", "ftruncate", "unlink", "pread64", "openat")
"""How SQLite writes, syncs, shortens, deletes, reads and opens its files."""

TRACE = f"trace={CALLS},pread64"

JOBS = 8
FEWEST = JOBS - 1
"""How many of the jobs are acknowledged at least when one call fails: all but the one that is told so."""

RECOVERED = 5.0
"""Seconds from a call that failed until jobs are acknowledged again, at most."""


@dataclass(frozen=True, slots=True)
class Failed:
    """What became of a workload one of whose calls failed with EIO; `failed` is the line that strace wrote about it.

    `recovered_in`: the longest time, in seconds, between two jobs that were acknowledged. `opened_anew`: nothing was acknowledged
    after the failure before the database had been opened again.
    """

    failed: str
    acknowledged: int
    problems: list[str]
    is_of_the_folder: bool = False
    recovered_in: float = 0.0
    opened_anew: bool = False


def fail_once(before: Path, tmp_path: Path, journal: str, call: str, position: int) -> Failed:
    """Have the system refuse one call of that name, the one at that position, and judge what is found afterwards."""
    inject = f"inject={call}:error=EIO:when={position}"
    try:
        workload = Workload(before, tmp_path, journal, JOBS, AS_OPENED, "-e", TRACE, "-e", inject)
    except subprocess.CalledProcessError as error:
        return Failed("", 0, [f"the workload ended with {error.returncode}"])
    [failed] = [line for line in workload.lines.read_text().splitlines() if line.endswith("(INJECTED)")]
    said = read_histories(workload.histories)
    problems = [str(each) for each in check(recovered(workload.folder, journal, said))]
    of_the_folder = _is_of(failed, workload.folder, ">")
    # SQLite goes on when its rollback journal's name could not be kept; nobody but SQLite knows when it makes one.
    if call in SYNCS and not problems and not (of_the_folder and journal == "rollback"):
        problems = list(verdicts(workload, tmp_path, 3, after=_failure_in(workload)))
    acknowledged = [event.at for event in said if event.what == "ok"]
    longest = max((after - at for at, after in pairwise(acknowledged)), default=0.0)
    return Failed(failed, len(acknowledged), problems, of_the_folder, longest, _opened_anew(workload, failed))


def _opened_anew(workload: Workload, failed: str) -> bool:
    _, _, after = workload.lines.read_text().partition(failed)
    for call in filter(None, map(parsed, after.splitlines())):
        if (call.name, call.path) == ("openat", f"{workload.folder}/queue.db"):
            return True
        if call.path.endswith(".history") and b'"ok"' in call.data:
            return False
    return True


def refuse_writes(before: Path, tmp_path: Path, journal: str, first: int, last: int) -> tuple[list[Event], list[str]]:
    """Have the system refuse these writes, as a read-only file system does; returns what was said, and what is broken."""
    refused = ("-e", f"inject=pwrite64:error=EROFS:when={first}..{last}")
    workload = Workload(before, tmp_path, journal, 3 * JOBS, AS_OPENED, "-e", TRACE, *refused)
    said = read_histories(workload.histories)
    return said, [str(each) for each in check(recovered(workload.folder, journal, said))]


def _failure_in(workload: Workload) -> int:
    """How many calls were made when a sync failed."""
    return next(count for count, call in enumerate(workload.calls, 1) if call.name == FAILED)


def verdicts(workload: Workload, tmp_path: Path, number: int, after: int = 0) -> Iterator[str]:
    """What is broken after each of so many losses of power, the first of them after so many calls."""
    for count, files in losses(workload.before, moved(workload), Random(1), number, after):
        folder = tmp_path / "found"
        folder.mkdir()
        for name, content in files.items():
            if not name.endswith(".turnstile"):  # it names the files by their inodes, which are others in a copy
                (folder / name).write_bytes(content)
        for violation in check(recovered(folder, workload.journal, workload.said_by(count))):
            yield f"after {count} of {len(workload.calls)} calls: {violation}"
        shutil.rmtree(folder)


def moved(workload: Workload) -> list[Call]:
    """The calls, as if they had been made in the folder as it was before."""
    here, there = str(workload.folder), str(workload.before)
    return [Call(call.name, call.path.replace(here, there), call.at, call.data) for call in workload.calls]


def _name_of(line: str) -> str:
    return line.split()[1].partition("(")[0]


def _is_of(line: str, folder: Path, end: str = "") -> bool:
    """Whether a line of strace is about something in the folder, by its name or by that of its handle; `>`: the folder itself."""
    return f"{folder}{end}" in line or "".join(f"\\x{byte:02x}" for byte in str(folder).encode()) + end in line


def positions(before: Path, tmp_path: Path, journal: str) -> dict[str, list[int]]:
    """Of each call: which of those that the workload makes, counted from 1, are about the database's files."""
    workload = Workload(before, tmp_path, journal, JOBS, AS_OPENED, "-e", TRACE)
    lines = [line for line in workload.lines.read_text().splitlines() if re.match(r"\d+\s+\w+\(", line)]
    found: dict[str, list[int]] = {}
    for call in CALLS_THAT_FAIL:
        its = [line for line in lines if _name_of(line) == call]
        found[call] = [number for number, line in enumerate(its, 1) if _is_of(line, workload.folder)]
    return found


def errors(asked: Asked) -> str:
    """Q4: each system call that SQLite makes fails once, at up to `rounds` positions of each, in either journal mode."""
    with tempfile.TemporaryDirectory(prefix="jobqueue-faults-", dir="/tmp") as folder:
        before = Path(folder) / "before"
        before.mkdir()
        engine = open_engine(f"sqlite:///{before}/queue.db")
        upgrade(engine)
        engine.dispose()
        close_watched(before)
        lines = [line for journal in ("wal", "rollback") for line in _errors_in(before, Path(folder), journal, asked.rounds)]
    return "\n".join(lines)


def _errors_in(before: Path, folder: Path, journal: str, rounds: int) -> Iterator[str]:
    whole = folder / journal
    whole.mkdir()
    for call, places in positions(before, whole, journal).items():
        chosen = places[::max(1, -(-len(places) // rounds))]
        with ThreadPoolExecutor(2) as pool:
            trials = list(pool.map(lambda at, call=call: _trial(before, folder, journal, call, at), chosen))  # type: ignore[misc]
        problems = [f"{call} {at}: {problem}" for at, trial in zip(chosen, trials, strict=True) for problem in trial.problems]
        assert not problems, f"{journal}: {problems}"
        fewest = min((each.acknowledged for each in trials), default=JOBS)
        assert fewest >= FEWEST, f"{journal}: after a {call} that failed only {fewest} of {JOBS} jobs were acknowledged"
        longest = max((each.recovered_in for each in trials), default=0.0)
        assert longest < RECOVERED, f"{journal}: after a {call} that failed {longest:.1f} s passed between two acknowledged jobs"
        yield (
            f"{journal}: {call} failed at {len(chosen)} of {len(places)} positions, at least {fewest} of {JOBS} jobs"
            f" acknowledged, at most {longest:.1f} s between two of them, none before the database was opened anew after"
            f" {sum(each.opened_anew for each in trials)}"
        )


def _trial(before: Path, folder: Path, journal: str, call: str, position: int) -> Failed:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        trial = fail_once(before, Path(own), journal, call, position)
        if not trial.problems and not _is_of(trial.failed, Path(own) / "disk"):
            return Failed(trial.failed, 0, [f"another call failed than was meant: {trial.failed}"])
        return trial
