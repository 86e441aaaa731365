"""A scene for tests: a real supervisor with real workers on a real database, with short timings."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import yaml
from sqlalchemy import make_url

from backends import JobView, NewJob, Queue, Status, open_engine
from supervisor import read_status
from tests.support import REPOSITORY, eventually
from tests.warm import Started, warm

Process = subprocess.Popen[bytes] | Started

TIMINGS = {
    "heartbeat_interval": 0.3,
    "lock_timeout": 3,
    "poll_interval": 0.2,
    "shutdown_timeout": 5,
    "retry": {"initial": 0.1, "max": 0.5},
    "supervision": {"restart_backoff": {"initial": 0.2, "max": 1}},
}
HANDLERS = (
    "quick", "until_file", "obedient", "first_time_until_file", "deaf", "greedy", "leaves_quietly", "segfaults",
    "raises_system_exit", "raises_the_unspeakable", "leaves_children", "leaves_an_orphan", "forks", "leaves_damage",
    "holds_its_transaction", "spills", "expects_its_secret",
)


class Scene:
    """One supervisor, and what tests do to it. Several scenes may share a database."""

    def __init__(self, folder: Path, database_url: str, name: str = "one", workers: int = 2, **settings: Any) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self.until, self.notes = self.folder / "until", self.folder / "notes"
        self.queue = Queue(open_engine(database_url))
        self.log = self.folder / "log"
        self.process: Process | None = None
        self.near_looks: Path | None = None
        """Where its workers note their near looks, if they are near-sighted."""
        types = {each: {"handler": f"tests.supervisor.handlers:{each}"} for each in HANDLERS}
        process_ids = [f"{name}-{number}" for number in range(1, workers + 1)]
        self.settings: dict[str, Any] = {
            "database_url": database_url, "workers": {"count": workers, "process_ids": process_ids},
            "run_dir": str(self.folder / "run"), "extensions": [], "job_types": types,
            "logging": {"level": "DEBUG", "format": "json"}, **TIMINGS, **settings,
        }
        self.settings["job_types"] = types | settings.get("job_types", {})

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "jobqueue.yaml"

    def write_config(self, **changes: Any) -> None:
        """Write the configuration file with these changes, which stay."""
        self.settings |= changes
        self.config.write_text(yaml.safe_dump(self.settings))

    # Running it

    def launch(self, *prefix: str, output: int | None = None) -> Process:
        """Start the supervisor and do not wait for anything. What it writes goes to `self.log`, or into that descriptor.

        A `prefix` is a command that starts it, as a new interpreter.
        """
        self.write_config()
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        variables["PYTHONPATH"] = f"{REPOSITORY}{os.pathsep}{self.folder}"
        program, arguments = "tests.supervisor.run_one", [str(self.config), *map(str, filter(None, [self.near_looks]))]
        with self.log.open("ab") as log, open(os.devnull) as nothing:
            out = log.fileno() if output is None else output
            if prefix:
                self.process = subprocess.Popen(
                    [*prefix, sys.executable, "-m", program, *arguments], cwd=REPOSITORY, stderr=out, stdout=out,
                    stdin=nothing, start_new_session=True, env=variables,
                )
            else:
                self.process = warm().start(program, arguments, REPOSITORY, variables, (nothing.fileno(), out, out))
        return self.process

    def start(self, output: int | None = None) -> Scene:
        """Start the supervisor and wait until all its workers can claim."""
        self.launch(output=output)
        eventually(self._is_up, within=20)
        return self

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        return self.status.get("state") == "running"

    def send(self, number: int) -> None:
        """Signal the supervisor."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, within: float = 15.0) -> int:
        """Signal it and wait for its end; returns the exit code."""
        self.send(number)
        return self.exit_code(within)

    def exit_code(self, within: float = 15.0) -> int:
        """Wait until it ends by itself; returns the exit code."""
        assert self.process is not None
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {within} s:\n{self.log.read_text()[-4000:]}") from None

    def close(self) -> None:
        """Leave no process behind."""
        self.queue.engine.dispose()
        for process in self.tree():
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.process is not None:
            self.process.wait(10)

    def tree(self) -> list[psutil.Process]:
        """The supervisor and all its living descendants, the supervisor last."""
        if self.process is None or self.process.poll() is not None:
            return []
        try:
            own = psutil.Process(self.process.pid)
            return [*own.children(recursive=True), own]
        except psutil.NoSuchProcess:  # it ended meanwhile
            return []

    # Looking at it

    @property
    def status(self) -> dict[str, Any]:
        """What its status file says."""
        return read_status(self.folder / "run") or {}

    @property
    def worker_pids(self) -> list[int]:
        """The pids of all workers, by place."""
        return [worker["pid"] for worker in self.status["workers"] if worker["pid"]]

    @property
    def maintenance_pid(self) -> int:
        """The pid of maintenance."""
        return int(self.status["maintenance"]["pid"] or 0)

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The log lines of that name."""
        whole = self.log.read_text().rpartition("\n")[0]  # somebody may be in the midst of a line
        lines = [line for line in whole.splitlines() if line.startswith("{")]
        return [event for line in lines if (event := json.loads(line)).get("event") == name or not name]

    def seen(self, name: str, within: float = 10.0, **fields: Any) -> dict[str, Any]:
        """Wait for an event with these fields."""
        return eventually(lambda: next((e for e in self.events(name) if fields.items() <= e.items()), None), within)

    # Its jobs

    def enqueue(self, job_type: str, count: int = 1, **parameters: Any) -> list[int]:
        """Add jobs; their files are `self.notes` and `self.until` unless given."""
        given = {"notes": str(self.notes), "until": str(self.until)} | parameters
        return self.queue.enqueue([NewJob(job_type, program_id=1, parameters=given)] * count)

    def job(self, job_id: int) -> JobView:
        """The job as it is now."""
        found = self.queue.get(job_id)
        assert found is not None
        return found

    def becomes(self, job_id: int, status: Status, within: float = 10.0) -> JobView:
        """Wait until the job has that status."""
        try:
            eventually(lambda: self.job(job_id).status == status, within)
        except AssertionError:
            raise AssertionError(f"{self.job(job_id)}\n{self.log.read_text()[-6000:]}") from None
        return self.job(job_id)

    def starts(self) -> list[list[int]]:
        """The handlers' notes: pid, lease and job of every start so far."""
        text = self.notes.read_text() if self.notes.exists() else ""
        return [[int(word) for word in line.split()] for line in text.splitlines()]

    def runner_of(self, job_id: int, lease: int = 1, within: float = 10.0) -> int:
        """Wait until an attempt runs; returns the pid of its worker."""
        found = eventually(lambda: [pid for pid, its, job in self.starts() if (its, job) == (lease, job_id)], within)
        return found[0]


def state_of(pid: int) -> str:
    """The state of a process; `gone` when there is none, zombies included."""
    try:
        found = psutil.Process(pid).status()
    except psutil.Error:
        return "gone"
    return "gone" if found == psutil.STATUS_ZOMBIE else found


def is_gone(*pids: int) -> bool:
    """True when none of these processes lives."""
    return all(state_of(pid) == "gone" for pid in pids)


def signal_all(processes: list[psutil.Process], number: int) -> None:
    """Signal these processes, those that live."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def freeze(scene: Scene) -> list[psutil.Process]:
    """Stop the whole tree at once, at a moment when none of it holds SQLite's only write lock; returns its processes.

    The supervisor comes last, as whoever kills them should: the kernel wakes stopped children whose parent has died.
    """
    while True:
        tree = scene.tree()
        signal_all(tree[::-1], signal.SIGSTOP)
        eventually(lambda tree=tree: all(is_stopped(each) for each in tree))  # type: ignore[misc]
        if not writes(scene, tree):
            return tree
        signal_all(tree, signal.SIGCONT)
        eventually(lambda tree=tree: not writes(scene, tree))  # type: ignore[misc]


def is_stopped(process: psutil.Process) -> bool:
    """Whether it stands still, for now or for good."""
    try:
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def writes(scene: Scene, tree: list[psutil.Process]) -> bool:
    """Whether one of them holds a lock for which SQLite's other writers wait; never on Postgres."""
    database = make_url(scene.settings["database_url"]).database
    ends = (".turnstile", ".turnstile-queue", "-shm")
    inodes = {os.stat(f"{database}{end}").st_ino for end in ends if Path(f"{database}{end}").exists()}
    held = (line.split() for line in Path("/proc/locks").read_text().splitlines() if "WRITE" in line and "->" not in line)
    holders = {int(pid) for *_, pid, file, _, _ in held if int(file.rpartition(":")[2]) in inodes}
    return not holders.isdisjoint(each.pid for each in tree)


def moment_of(event: dict[str, Any]) -> float:
    """When that line was logged, in seconds of the epoch."""
    return datetime.fromisoformat(event["ts"]).timestamp()


def attempts(scene: Scene, job_id: int) -> list[tuple[str, str]]:
    """The outcomes and reasons of a job's attempts that ended other than completed."""
    return [(each.outcome, each.reason) for each in scene.queue.attempts(job_id)]


