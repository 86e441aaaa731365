"""The pid file and the status file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor import read_status, running_pid
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


def test_a_pid_file_left_by_the_dead_holds_nobody_back(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from supervisor.rundir import RunDir; RunDir(Path({str(tmp_path)!r})).hold()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert (tmp_path / "supervisor.pid").read_text().strip()
    assert running_pid(tmp_path) is None
    RunDir(tmp_path).hold()


def test_the_status_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    directory = RunDir(tmp_path)
    directory.say({"state": "running"})
    assert read_status(tmp_path) == {"state": "running"}
    directory.say({"state": "draining"})
    assert read_status(tmp_path) == {"state": "draining"}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["status.json"]


def test_nobody_runs_where_there_is_no_directory(tmp_path: Path) -> None:
    assert running_pid(tmp_path / "nowhere") is None
