"""The README and the quickstart can be followed as they are written, on a copy of the repository."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from backends import JobView, Queue, indexed_files, open_engine
from supervisor import read_status
from tests.markdown import blocks
from tests.support import REPOSITORY, eventually

API = "http://127.0.0.1:8000"
README, QUICKSTART = REPOSITORY / "README.md", REPOSITORY / "docs" / "quickstart.md"
START = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/supervisor start -c jobqueue.yaml"
TEST = "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/pytest"
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "*.db", "*.db-*", "*.db.*", "build", "dist")
OURS = ("DATABASE_URL", "LOG_LEVEL", "PYTHONPATH")

PROGRAM = """#!/bin/sh
exec {python} {arguments} "$@"
"""


class Clone:
    """A copy of the repository with a `.venv/bin` that leads to the interpreter of the tests, so that nothing is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / ".venv" / "bin"
        self.process: subprocess.Popen[bytes] | None = None
        self._queue: Queue | None = None
        shutil.copytree(REPOSITORY, folder, ignore=NOT_COPIED)
        self.programs.mkdir(parents=True)
        self._lead("python", "")
        self._lead("supervisor", "-m supervisor.main")
        (self.programs / "activate").touch()

    def _lead(self, name: str, arguments: str) -> None:
        program = self.programs / name
        program.write_text(PROGRAM.format(python=sys.executable, arguments=arguments))
        program.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """A shell's in which the environment is activated, without what the run of the tests has set."""
        kept = {name: value for name, value in os.environ.items() if name not in OURS and "JOBQUEUE" not in name}
        kept["JOBQUEUE__API__PORT"] = "0"  # several of these run at once
        return {**kept, "PATH": f"{self.programs}{os.pathsep}{kept['PATH']}", "PYTHONPATH": str(self.folder)}

    def write_handler(self, page: Path) -> None:
        """Do what the page says about `reports.py` and the line under `job_types`."""
        (self.folder / "reports.py").write_text(blocks(page, "python")[0])
        [line] = [each for each in blocks(page, "yaml") if "reports:count" in each]
        config = self.folder / "jobqueue.yaml"
        config.write_text(config.read_text().replace("job_types:\n", f"job_types:\n{line}"))

    def start(self, command: str) -> None:
        """Start the supervisor with this command, and wait until its workers can claim."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command.split(), cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        eventually(self._is_up, within=40)

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        status = read_status(self.folder / ".jobqueue") or {}
        return (status.get("pid"), status.get("state")) == (self.process.pid, "running")

    def drain(self) -> int:
        """Press Ctrl-C once; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(40)

    def run(self, script: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a block of a page as a shell would; `code` is the exit code that is expected, None for any."""
        done = subprocess.run(
            ["sh", "-ec", script], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=90
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert code is None or done.returncode == code, (script, done)
        return done

    @property
    def api(self) -> str:
        """Where the copy's API answers; empty while it does not."""
        return str(((read_status(self.folder / ".jobqueue") or {}).get("api") or {}).get("url") or "")

    @property
    def queue(self) -> Queue:
        """The queue that the copy's supervisor serves."""
        if self._queue is None:
            self._queue = Queue(open_engine(f"sqlite:///{self.folder}/jobqueue.db"))
        return self._queue

    def job(self, number: int) -> JobView:
        """The job of this number."""
        job = self.queue.get(number)
        assert job is not None
        return job

    def completes(self, number: int) -> None:
        """Wait until the job of this number is completed."""
        eventually(lambda: self.job(number).status == "completed", within=30)

    def runner_of(self, number: int) -> int:
        """The pid of the worker that runs this job, 0 when none does."""
        workers = (read_status(self.folder / ".jobqueue") or {})["workers"]
        return next((int(each["pid"]) for each in workers if each["job_id"] == number and each["pid"]), 0)

    def indexed_paths(self) -> set[str]:
        """The files whose text is in the database."""
        indexed = select(indexed_files.c.path).where(indexed_files.c.status == "indexed")
        return set(self.queue.read(lambda connection: connection.execute(indexed).scalars().all()))

    def close(self) -> None:
        """Leave no process and no connection behind."""
        if self._queue is not None:
            self._queue.engine.dispose()
        if self.process is not None and self.process.poll() is None:
            children = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            self.process.wait(10)


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    """A fresh clone."""
    clone = Clone(tmp_path / "clone")
    yield clone
    clone.close()


def test_the_first_two_commands_of_the_readme_stand_there_to_the_letter() -> None:
    assert [each.strip() for each in blocks(README, "sh")[:2]] == [START, TEST]
    assert blocks(QUICKSTART, "sh")[0].strip() == START


def test_the_readme_can_be_followed_and_a_killed_worker_has_its_job_run_again(clone: Clone) -> None:
    clone.write_handler(README)
    clone.start(START.rpartition("&& ")[2])
    clone.completes(1)
    documents = {str(page.relative_to(clone.folder / "docs")) for page in (clone.folder / "docs").rglob("*.md")}
    assert documents <= clone.indexed_paths()

    typed = [line[2:] for line in blocks(README, "text")[0].splitlines() if line.startswith("$ ")]
    enqueue, _, kill, why = typed
    clone.run(enqueue)
    victim = eventually(lambda: clone.runner_of(2))
    eventually(lambda: clone.job(2).processed_files > 0)
    clone.run(re.sub(r"\d+$", str(victim), kill))
    eventually(lambda: clone.runner_of(2) not in (0, victim))
    job = clone.job(2)
    assert (job.status, job.retry_count) == ("running", 1)
    assert [each.outcome for each in clone.queue.attempts(2)] == ["crashed"]
    assert clone.run(why).stdout.startswith("running since")
    assert "job.reclaimed" in (clone.folder / "log").read_text()

    for block in blocks(README, "sh")[2:]:
        clone.run(block.replace(API, eventually(lambda: clone.api)))
    assert clone.drain() == 0


def test_every_way_to_enqueue_of_the_readme_makes_a_job_that_runs(clone: Clone) -> None:
    clone.write_handler(README)
    clone.start("supervisor start -c jobqueue.yaml")
    (clone.folder / "enqueue.py").write_text(blocks(README, "python")[1])
    clone.run("python enqueue.py")
    with clone.queue.engine.begin() as connection:
        connection.exec_driver_sql(blocks(README, "sql")[0])
    for number in (2, 3):
        clone.completes(number)
        assert clone.job(number).parameters == {"steps": 3}
    (clone.folder / "service.py").write_text(blocks(README, "python")[2])
    clone.run("python service.py")
    eventually(lambda: clone.job(4).status == "failed", within=30)  # there is no such folder
    assert (clone.job(4).folder_id, clone.job(4).parameters) == ("folder_123", {})
    assert clone.drain() == 0


def test_the_quickstart_can_be_followed(clone: Clone) -> None:
    clone.write_handler(QUICKSTART)
    (clone.folder / "enqueue.py").write_text(blocks(QUICKSTART, "python")[1])
    _, *scripts = blocks(QUICKSTART, "sh")
    clone.start(START.rpartition("&& ")[2])
    clone.completes(1)
    for script in scripts:
        if script.startswith("supervisor start"):
            assert clone.drain() == 0
            clone.start(script)
        else:
            clone.run(script)
    assert clone.drain() == 0
