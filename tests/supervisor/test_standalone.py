"""`run_job_processor.py`: a worker with a name, in the foreground or detached, alone or beside others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import NewJob, Queue, open_engine
from config import read_status, running_pid
from tests.supervisor.scene import TIMINGS, is_gone
from tests.support import REPOSITORY, eventually

PROGRAM = REPOSITORY / "run_job_processor.py"
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


class Desk:
    """A folder in which the program is run."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.queue = Queue(open_engine(database_url))
        handlers = {name: f"tests.supervisor.handlers:{name}" for name in ("quick", "until_file")}
        given = {"database_url": database_url, "extensions": [], "job_types": handlers, **TIMINGS}
        (folder / "jobqueue.yaml").write_text(json.dumps(given))

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(REPOSITORY)}

    @property
    def log(self) -> str:
        return (self.folder / "job_processor.log").read_text()

    def run_dir(self, name: str) -> Path:
        return self.folder / ".jobqueue" / "processors" / name

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end, or until it has detached."""
        return subprocess.run(
            [sys.executable, str(PROGRAM), *arguments], cwd=self.folder, env=self.environment | variables,
            capture_output=True, text=True, timeout=60,
        )

    def end(self, name: str) -> None:
        """Send TERM and wait."""
        pid = running_pid(self.run_dir(name))
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: running_pid(self.run_dir(name)) is None and is_gone(pid), within=20)


@pytest.fixture
def desk(tmp_path: Path, database_url: str) -> Iterator[Desk]:
    desk = Desk(tmp_path, database_url)
    yield desk
    for each in (tmp_path / ".jobqueue" / "processors").glob("*"):
        desk.end(each.name)
    desk.queue.engine.dispose()


def test_two_detached_processors_share_the_jobs_and_one_name_is_given_once(desk: Desk) -> None:
    for name in ("processor-1", "processor-2"):
        ran = desk.run("--process-id", name, "--daemon")
        assert ran.returncode == 0, ran
        assert ran.stdout == f"started\t{name}\tpid {running_pid(desk.run_dir(name))}\n"
    again = desk.run("--process-id", "processor-2", "--daemon")
    assert again.returncode == 5
    assert "error[PID-RUNNING] a processor of the name processor-2 runs already" in again.stderr
    until = desk.folder / "until"
    given = {"notes": str(desk.folder / "notes"), "until": str(until)}
    jobs = desk.queue.enqueue([NewJob("until_file", program_id=1, parameters=given)] * 2)

    def runners() -> set[str]:
        views = [desk.queue.get(job) for job in jobs]
        return {str(view.locked_by).partition(":")[0] for view in views if view and view.locked_by}

    eventually(lambda: runners() == {"processor-1", "processor-2"})
    until.touch()
    eventually(lambda: all((view := desk.queue.get(job)) and view.status == "completed" for job in jobs))
    for name in ("processor-1", "processor-2"):
        desk.end(name)
    assert not list((desk.folder / ".jobqueue" / "processors").iterdir())
    events = [json.loads(line)["event"] for line in desk.log.splitlines()]
    assert events.count("supervisor.ready") == events.count("supervisor.stopped") == 2


@on_sqlite
def test_in_the_foreground_it_logs_to_the_console_and_to_the_file_and_ends_by_a_signal(desk: Desk) -> None:
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM)], cwd=desk.folder, env=desk.environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        first = json.loads(process.stderr.readline())
        [run_dir] = (desk.folder / ".jobqueue" / "processors").iterdir()
        eventually(lambda: (read_status(run_dir) or {}).get("state") == "running", within=30)
        assert (read_status(run_dir) or {})["workers"][0]["process_id"] == run_dir.name
        process.terminate()
        rest = process.stderr.read()
        assert process.wait(20) == 0
    finally:
        process.kill()
    assert first["event"] == "supervisor.ready"
    assert "supervisor.stopped" in rest
    assert json.loads(desk.log.splitlines()[0])["event"] == "supervisor.ready"


@on_sqlite
@pytest.mark.parametrize("options", [["--daemon"], []])
def test_what_keeps_it_from_starting_is_said_at_the_terminal_with_its_exit_code(desk: Desk, options: list[str]) -> None:
    url = f"sqlite:///{desk.folder}/nowhere/queue.db"
    ran = desk.run(*options, DATABASE_URL=url)
    assert ran.returncode == 77
    assert "nowhere/queue.db" in ran.stderr
    assert "Traceback" not in ran.stderr
    (desk.folder / "jobqueue.yaml").unlink()
    ran = desk.run(*options, DATABASE_URL=url)
    assert ran.returncode == 78
    assert "supervisor init" in ran.stderr


@on_sqlite
@pytest.mark.parametrize("options", [["--daemon"], []])
def test_a_log_file_that_cannot_be_written_is_said_with_what_to_set(desk: Desk, options: list[str]) -> None:
    (desk.folder / "job_processor.log").mkdir()
    ran = desk.run(*options)
    assert ran.returncode == 77
    assert ran.stderr == (
        f"error[LOG-FILE] cannot write the log file {desk.folder}/job_processor.log: Is a directory;"
        " set logging.file to a file that this user may write\n"
    )


@on_sqlite
def test_a_detached_processor_has_no_terminal_and_a_session_of_its_own(desk: Desk) -> None:
    desk.run("--process-id", "away", "--daemon")
    pid = running_pid(desk.run_dir("away"))
    assert pid is not None
    assert os.getsid(pid) == pid
    log = str(desk.folder / "job_processor.log")
    assert [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)] == [os.devnull, log, log]
