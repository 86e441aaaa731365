"""A place to run the program in: its configuration file, its handlers, and each command as a process of its own."""

from __future__ import annotations

import ctypes
import json
import os
import pty
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from supervisor import read_status
from tests.support import REPOSITORY, eventually
from tests.warm import warm

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
"""For what does not depend on the database."""

HANDLERS = '''
"""Handlers for the tests of the command line."""

import time

from workers import Cancel, GiveUp


def count(ctx):
    total = ctx.job.parameters.get("total", 3)
    for done in range(total):
        ctx.progress(done + 1, total, f"file {done + 1}")


def refuse(ctx):
    raise GiveUp("no such folder")


def withdraw(ctx):
    raise Cancel()


def linger(ctx):
    while not ctx.should_stop():
        time.sleep(0.02)
    raise Cancel()
'''

CONFIGURATION = """
database_url: {database_url}
workers: 2
heartbeat_interval: 500ms
lock_timeout: 5s
poll_interval: 200ms
shutdown_timeout: 5s
job_types:
  count: {{handler: "cli_handlers:count", lane: "program:{{program_id}}"}}
  refuse: {{handler: "cli_handlers:refuse", retry: {{max_retries: 0}}}}
  withdraw: {{handler: "cli_handlers:withdraw"}}
  linger: {{handler: "cli_handlers:linger"}}
"""


@dataclass
class Ran:
    """What one run of the program said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document on stdout."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """The tab separated lines on stdout."""
        return [line.split("\t") for line in self.out.splitlines()]


@dataclass
class Place:
    """A folder with a jobqueue.yaml in it, in which the program is run."""

    folder: Path
    database_url: str = ""
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __call__(self, *arguments: object, code: int | None = 0, **variables: str) -> Ran:
        """Run one command to its end; `code` is the exit code that is expected, None for any."""
        with open(os.devnull) as nothing, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            streams = nothing.fileno(), out.fileno(), err.fileno()
            answer = self._run(arguments, self._environment(variables), streams)
            out.seek(0)
            err.seek(0)
            return _as_expected(Ran(answer, out.read(), err.read()), code)

    def from_scratch(self, *arguments: object, code: int | None = 0, **variables: str) -> Ran:
        """The same in a new interpreter, as in a shell: half a second dearer."""
        done = subprocess.run(
            self._command(arguments),
            cwd=self.folder,
            env=self._environment(variables),
            capture_output=True,
            text=True,
            timeout=90,
        )
        return _as_expected(Ran(done.returncode, done.stdout, done.stderr), code)

    def without_privilege(self, *arguments: object, code: int) -> Ran:
        """Run one command so that file modes hold even for root."""
        done = subprocess.run(
            self._command(arguments),
            cwd=self.folder,
            env=self._environment({}),
            capture_output=True,
            text=True,
            timeout=90,
            preexec_fn=_let_file_modes_hold,
        )
        ran = Ran(done.returncode, done.stdout, done.stderr)
        assert ran.code == code, ran
        return ran

    def on_a_terminal(self, *arguments: object, **variables: str) -> tuple[int, str]:
        """Run one command with a terminal for its output; its exit code and all it wrote there."""
        terminal, end = pty.openpty()
        variables = self._environment({"TERM": "xterm-256color", "COLUMNS": "200", **variables})
        written: list[bytes] = []
        reader = threading.Thread(target=lambda: written.extend(iter(lambda: _read(terminal), b"")))
        reader.start()
        code = self._run(arguments, variables, (end, end, end))
        os.close(end)
        reader.join(10)
        os.close(terminal)
        return code, b"".join(written).decode()

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start a supervisor; it is ended with the test."""
        log = (self.folder / "supervisor.log").open("a")
        process = subprocess.Popen(
            self._command(("start", *arguments)),
            cwd=self.folder,
            env=self._environment({}),
            stdout=log,
            stderr=log,
            text=True,
        )
        self.started.append(process)
        return process

    def start_closed(self) -> subprocess.Popen[str]:
        """Start a supervisor with none of the standard streams open."""
        process = subprocess.Popen(
            ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", *self._command(("start",))],
            cwd=self.folder,
            env=self._environment({}),
            text=True,
        )
        self.started.append(process)
        return process

    def write(self, text: str, name: str = "jobqueue.yaml") -> Path:
        """Write a file into the folder."""
        (self.folder / name).write_text(text)
        return self.folder / name

    def end(self) -> None:
        """End every supervisor that still runs."""
        for process in self.started:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _run(self, arguments: tuple[object, ...], variables: dict[str, str], streams: tuple[int, int, int]) -> int:
        return warm().start("supervisor.main", [*map(str, arguments)], self.folder, variables, streams).wait(90)

    def _command(self, arguments: tuple[object, ...]) -> list[str]:
        return [sys.executable, "-m", "supervisor.main", *map(str, arguments)]

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in ("DATABASE_URL", "JOBQUEUE_CONFIG", "LOG_LEVEL")
        }
        return {**inherited, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{self.folder}", **variables}


def _as_expected(ran: Ran, code: int | None) -> Ran:
    assert "Traceback" not in ran.err, ran.err
    assert code is None or ran.code == code, ran
    return ran


def _let_file_modes_hold() -> None:
    """Root without the capabilities that overrule modes; nothing for anybody else."""
    drop_from_bounding_set, overrule, search = 24, 1, 2
    for capability in (overrule, search):
        ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty folder to run the program in; for what needs no database."""
    return Place(tmp_path)


@pytest.fixture
def supervisor(tmp_path: Path, database_url: str) -> Iterator[Place]:
    """A folder with a configuration, handlers and a database of the current schema; once for each kind of database."""
    place = Place(tmp_path, database_url)
    place.write(CONFIGURATION.format(database_url=database_url))
    place.write(HANDLERS, "cli_handlers.py")
    yield place
    place.end()


@pytest.fixture
def running(supervisor: Place) -> Place:
    """A folder as `supervisor`, with a supervisor running in it whose workers are ready."""
    return _started(supervisor)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The supervisor behind `bystander`; one for each module and process of the run."""
    place = Place(tmp_path_factory.mktemp("lasting"))
    place.database_url = f"sqlite:///{place.folder}/queue.db"
    _restore(place)
    yield _started(place)
    place.end()


@pytest.fixture
def bystander(lasting: Place) -> Place:
    """As `running`, on SQLite, and shared: for tests that leave the supervisor and its queue as they found them."""
    _restore(lasting)
    return lasting


def _restore(place: Place) -> None:
    place.write(CONFIGURATION.format(database_url=place.database_url))
    place.write(HANDLERS, "cli_handlers.py")


def _started(place: Place) -> Place:
    process = place.start()

    def is_ready() -> bool:
        assert process.poll() is None, (place.folder / "supervisor.log").read_text()
        return (read_status(place.folder / ".jobqueue") or {}).get("state") == "running"

    eventually(is_ready, within=60, every=0.05)
    return place
