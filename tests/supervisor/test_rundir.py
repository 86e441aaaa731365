"""The pid file and the status file."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config import Processing, order_processing, processing_ordered
from supervisor import AlreadyAsked, read_status, restart_request, rundir, running_pid
from supervisor.rundir import AlreadyRunning, RunDir


def test_a_second_supervisor_is_refused_and_told_the_pid_of_the_first(tmp_path: Path) -> None:
    first = RunDir(tmp_path / "run")
    first.hold()
    with pytest.raises(AlreadyRunning) as refused:
        RunDir(tmp_path / "run").hold()
    assert refused.value.pid == os.getpid()
    assert running_pid(tmp_path / "run") == os.getpid()
    first.leave()
    assert running_pid(tmp_path / "run") is None
    RunDir(tmp_path / "run").hold()


def test_who_only_looks_keeps_nobody_from_starting(tmp_path: Path) -> None:
    (tmp_path / "supervisor.pid").touch()
    with (tmp_path / "supervisor.pid").open() as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        threading.Timer(0.1, fcntl.flock, (looked_at, fcntl.LOCK_UN)).start()
        RunDir(tmp_path).hold()
    assert running_pid(tmp_path) == os.getpid()


def test_a_request_to_start_again_is_taken_once_and_by_whom_it_is_meant_for(tmp_path: Path) -> None:
    directory = RunDir(tmp_path)
    with restart_request(tmp_path, os.getpid()):
        with pytest.raises(AlreadyAsked), restart_request(tmp_path, os.getpid()):
            pass
        directory.take_request()
        assert directory.starts_again
        directory.take_request()
        assert not directory.starts_again
    with restart_request(tmp_path, os.getppid()):
        directory.take_request()
    assert not directory.starts_again
    assert not list(tmp_path.iterdir())


def test_a_request_whose_author_is_gone_counts_for_nothing(tmp_path: Path) -> None:
    directory = RunDir(tmp_path)
    with restart_request(tmp_path, os.getpid()):
        pass
    directory.take_request()
    assert not directory.starts_again
    code = (
        "import os, sys; from pathlib import Path; from supervisor import restart_request\n"
        f"with restart_request(Path({str(tmp_path)!r}), {os.getpid()}): os._exit(0)"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert (tmp_path / "restart.request").exists()
    directory.take_request()
    assert not directory.starts_again
    assert not list(tmp_path.iterdir())


def test_a_lock_that_is_handed_down_is_never_let_go(tmp_path: Path) -> None:
    script = tmp_path / "again.py"
    script.write_text(
        "import os, sys; from pathlib import Path; from supervisor.rundir import AlreadyRunning, RunDir\n"
        f"directory = RunDir(Path({str(tmp_path)!r}))\n"
        "print(os.getpid(), os.get_inheritable(directory.hold()), flush=True)\n"
        "if len(sys.argv) == 1:\n"
        "    directory.hand_down()\n"
        "    os.execv(sys.executable, [sys.executable, __file__, 'again'])\n"
        "assert 'JOBQUEUE_PID_FILE' not in os.environ\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(script)], check=True, timeout=30, capture_output=True, text=True, env=environment
    )
    first, second = done.stdout.splitlines()
    assert first == second
    assert first.endswith("False")


def test_a_pid_file_left_by_the_dead_holds_nobody_back(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from supervisor.rundir import RunDir; RunDir(Path({str(tmp_path)!r})).hold()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert (tmp_path / "supervisor.pid").read_text().strip()
    assert running_pid(tmp_path) is None
    RunDir(tmp_path).hold()


def test_nobody_is_told_the_pid_of_the_dead_while_a_successor_moves_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "supervisor.pid").write_text("4711\n")
    told: list[int | None] = []
    monkeypatch.setattr(rundir, "declare_owned", lambda path, pid: told.append(running_pid(path)))
    directory = RunDir(tmp_path)
    directory.hold()
    assert told == [None]
    assert running_pid(tmp_path) == os.getpid()
    directory.leave()


def test_the_status_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    directory = RunDir(tmp_path)
    directory.say({"state": "running"})
    assert read_status(tmp_path) == {"state": "running"}
    directory.say({"state": "draining"})
    assert read_status(tmp_path) == {"state": "draining"}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["status.json"]


def test_a_directory_that_was_removed_is_made_again_with_the_order_that_stood(tmp_path: Path) -> None:
    path = tmp_path / "run"
    directory = RunDir(path)
    descriptor = directory.hold()
    order_processing(path, Processing.STOP)
    assert directory.ordered is Processing.STOP
    assert not directory.restore()
    shutil.rmtree(path)
    assert directory.ordered is Processing.STOP
    assert directory.restore()
    assert running_pid(path) == os.getpid()
    assert processing_ordered(path) is directory.ordered is Processing.STOP
    assert not os.get_inheritable(descriptor)
    with pytest.raises(AlreadyRunning):
        RunDir(path).hold()
    assert not directory.restore()


def test_a_directory_that_cannot_be_made_again_for_want_of_space_is_made_as_soon_as_there_is_some(tmp_path: Path) -> None:
    directory = RunDir(tmp_path / "run")
    directory.hold()
    shutil.rmtree(tmp_path / "run")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        with no_space(), pytest.raises(OSError, match="File too large"):
            directory.restore()
    assert len(os.listdir("/proc/self/fd")) == before
    assert directory.restore()
    assert running_pid(tmp_path / "run") == os.getpid()


@contextmanager
def no_space() -> Iterator[None]:
    """Files can be made here, but nothing can be written into them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_who_lost_its_directory_to_another_leaves_what_is_there_alone(tmp_path: Path) -> None:
    path = tmp_path / "run"
    first, second = RunDir(path), RunDir(path)
    first.hold()
    shutil.rmtree(path)
    second.hold()
    with pytest.raises(AlreadyRunning):
        first.restore()
    second.say({"state": "running"})
    first.say({"state": "draining"})
    first.order_stop()
    assert read_status(path) == {"state": "running"}
    assert second.ordered is Processing.GO
    first.leave()
    assert running_pid(path) == os.getpid()


def test_one_that_waits_for_a_directory_that_is_removed_at_the_end_gets_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "run"
    first = RunDir(path, is_passing=True)
    first.hold()
    (path / "supervisor.pid").write_text("")  # locked, and nobody says by whom: that is waited for
    threading.Timer(0.1, first.leave).start()
    second = RunDir(path, is_passing=True)
    second.hold()
    assert running_pid(path) == os.getpid()
    second.leave()
    assert not path.exists()


def test_nobody_runs_where_there_is_no_directory(tmp_path: Path) -> None:
    assert running_pid(tmp_path / "nowhere") is None
