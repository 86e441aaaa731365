"""The stage of every benchmark: a fresh database, and a real `supervisor start` on a configuration file of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import yaml
from sqlalchemy import text
from sqlalchemy.engine import make_url

from backends import JobTypeFacts, JobView, NewJob, Queue, open_engine, upgrade
from supervisor import read_status

from . import handlers

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
JOB_TYPES: dict[str, dict[str, Any]] = {
    "noop": {"handler": "benchmarks.handlers:noop"},
    "laned": {"handler": "benchmarks.handlers:noop", "lane": "program:{program_id}"},
    "long": {"handler": "benchmarks.handlers:long_the_first_time"},
}
PARAMETERS = {"id": 0, "to": "user0000000@example.com", "folder": "benchmark", "pad": "x" * 36}
"""About 100 bytes of JSON."""


class Trouble(Exception):
    """A benchmark cannot go on; the message says why and what to do."""


def wait_for(answer: Callable[[], T | None], within: float, every: float = 0.02, what: str = "") -> T:
    """Ask until the answer is true, and return it. Raises `Trouble` after `within` seconds."""
    deadline = time.monotonic() + within
    while not (found := answer()):
        if time.monotonic() > deadline:
            raise Trouble(f"waited {within:g} s in vain for {what or answer}")
        time.sleep(every)
    return found


@contextlib.contextmanager
def fresh_folder(parent: str | None = None) -> Iterator[Path]:
    """A temporary folder on a disk; gone afterwards. Raises `Trouble` where the folder would lie in memory."""
    parent = parent or ("/var/tmp" if os.path.isdir("/var/tmp") else tempfile.gettempdir())
    kind = _filesystem_of(parent)
    if kind in ("tmpfs", "ramfs"):
        raise Trouble(f"{parent} lies on {kind}, where nothing is durable; name a folder on a disk with --folder")
    path = Path(tempfile.mkdtemp(prefix="jobqueue-benchmark-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _filesystem_of(path: str) -> str:
    path = os.path.realpath(path)
    holding = [part for part in psutil.disk_partitions(all=True) if path.startswith(part.mountpoint)]
    return max(holding, key=lambda part: len(part.mountpoint)).fstype if holding else ""


@contextlib.contextmanager
def fresh_database(server: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database: a file in `folder` for `sqlite`, else a new one on this Postgres server."""
    if server == "sqlite":
        yield f"sqlite:///{folder}/jobqueue.db"
        return
    name = f"jobqueue_benchmark_{secrets.token_hex(4)}"
    _command(server, f"CREATE DATABASE {name}")
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        _command(server, f"DROP DATABASE {name} WITH (FORCE)")


def _command(server: str, command: str) -> None:
    engine = open_engine(server)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(command))
    engine.dispose()


class Stage:
    """One database and the supervisors that work on it. Leaves no process and no database behind."""

    def __init__(self, server: str, folder: str | None = None) -> None:
        self._server, self._parent = server, folder
        self._supervisors: list[Supervisor] = []

    def __enter__(self) -> Stage:
        with contextlib.ExitStack() as opening:
            self.folder = opening.enter_context(fresh_folder(self._parent))
            self.url = opening.enter_context(fresh_database(self._server, self.folder))
            self.notes = self.folder / "starts"
            self.notes.mkdir()
            self.queue = Queue(open_engine(self.url, statement_timeout=3600))
            opening.callback(self.queue.engine.dispose)
            upgrade(self.queue.engine)
            types = {name: JobTypeFacts(kind.get("lane"), 3) for name, kind in JOB_TYPES.items()}
            self.queue.register(types, "benchmark")
            self._closing = opening.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        with self._closing:
            for supervisor in self._supervisors:
                supervisor.close()

    def supervisor(self, workers: int, **settings: Any) -> Supervisor:
        """A supervisor with these settings, the defaults otherwise; it is not started yet."""
        name = f"s{len(self._supervisors) + 1}"
        process_ids = [f"{name}-{number}" for number in range(1, workers + 1)]
        whole = {
            "database_url": self.url, "workers": {"count": workers, "process_ids": process_ids}, "extensions": [],
            "run_dir": str(self.folder / name / "run"), "job_types": JOB_TYPES, **settings,
        }
        self._supervisors.append(Supervisor(self.folder / name, whole, self.notes))
        return self._supervisors[-1]

    def enqueue(self, count: int, job_type: str = "noop", chunk: int = 1000, **fields: Any) -> list[int]:
        """Add so many jobs, `chunk` in each transaction; returns their ids."""
        new = NewJob(job_type, program_id=fields.pop("program_id", 1), parameters=PARAMETERS, **fields)
        sizes = [min(chunk, count - first) for first in range(0, count, chunk)]
        return [job_id for size in sizes for job_id in self.queue.enqueue([new] * size)]

    def starts(self) -> list[handlers.Start]:
        """Every start of a handler so far."""
        return handlers.starts(self.notes)

    def start_of(self, job_id: int, lease: int = 1, within: float = 60.0, every: float = 0.005) -> handlers.Start:
        """Wait for an attempt to start."""

        def look() -> handlers.Start | None:
            return next((each for each in self.starts() if (each.job_id, each.lease) == (job_id, lease)), None)

        return wait_for(look, within, every, f"attempt {lease} of job {job_id}")

    def job(self, job_id: int) -> JobView:
        """The job as it is now."""
        found = self.queue.get(job_id)
        if found is None:
            raise Trouble(f"job {job_id} is missing")
        return found

    def all_done(self, count: int, within: float, every: float = 0.25, program_id: int | None = None) -> None:
        """Wait until so many jobs are completed, by the counters that cost nothing."""

        def look() -> bool:
            counts = self.queue.counts(program_id)
            if counts.failed:
                raise Trouble(f"{counts.failed} jobs failed; see {self.folder}")
            return counts.completed >= count

        wait_for(look, within, every, f"{count} completed jobs")


class Supervisor:
    """One `supervisor start` in the foreground of nobody's terminal."""

    def __init__(self, folder: Path, settings: dict[str, Any], notes: Path) -> None:
        folder.mkdir()
        self.config, self.log = folder / "jobqueue.yaml", folder / "log"
        self.config.write_text(yaml.safe_dump(settings))
        self._run_dir, self._notes = Path(settings["run_dir"]), notes
        self._tree: list[psutil.Process] = []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it and wait until all its workers can claim; returns the seconds that this took."""
        began = time.monotonic()
        environment = os.environ | {"PYTHONPATH": str(ROOT), handlers.STARTS: str(self._notes)}
        for name in ("DATABASE_URL", "LOG_LEVEL"):
            environment.pop(name, None)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.main", "start", "-c", str(self.config)], cwd=self.config.parent,
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        wait_for(self._is_up, within=60, every=0.01, what="the supervisor to start")
        return time.monotonic() - began

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise Trouble(f"the supervisor ended with {self.process.returncode}:\n{self.log.read_text()}")
        up = self.status.get("state") == "running" and self.status.get("pid") == self.process.pid
        if up:
            self.remember()
        return up

    @property
    def status(self) -> dict[str, Any]:
        """What its status file says."""
        return read_status(self._run_dir) or {}

    @property
    def pid(self) -> int:
        """The supervisor's own process."""
        assert self.process is not None
        return self.process.pid

    @property
    def maintenance(self) -> int:
        """The pid of maintenance."""
        return int(self.status["maintenance"]["pid"])

    @property
    def workers(self) -> dict[str, int]:
        """The pids of the workers by name."""
        return {worker["process_id"]: worker["pid"] for worker in self.status["workers"] if worker["pid"]}

    def remember(self) -> None:
        """Note who belongs to it, so that nobody survives the benchmark even if the supervisor is killed."""
        with contextlib.suppress(psutil.Error):
            own = psutil.Process(self.pid)
            self._tree = list({*self._tree, own, *own.children(recursive=True)})

    def stop(self) -> None:
        """Have it leave in its own way."""
        if self.process is not None and self.process.poll() is None:
            self.remember()
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(40)
        self.close()

    def close(self) -> None:
        """Leave no process of it behind."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.remember()
        for each in self._tree:
            with contextlib.suppress(psutil.Error):
                each.kill()
        self.process.wait(10)
