"""The program itself: how it starts, whose packages it runs, and how it says no."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Place, on_sqlite
from tests.support import REPOSITORY

HEAVY = {
    "sqlalchemy",
    "alembic",
    "psycopg",
    "googleapiclient",
    "pydantic",
    "yaml",
    "backends",
    "workers",
    "config",
    "apps",
}


def imported_by(arguments: list[str], folder: Path) -> set[str]:
    script = (
        "import sys; sys.argv = ['supervisor', *sys.argv[1:]]\n"
        "from supervisor.main import main\n"
        "code = main()\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["jobs", "enqueue", "--help"], ["tokens", "create", "--help"], ["version"]])
def test_help_imports_nothing_that_takes_long(arguments: list[str], tmp_path: Path) -> None:
    assert imported_by(arguments, tmp_path) & HEAVY <= {"pydantic"}


STREAMS = """
import os, sys
from supervisor.main import prepare
assert prepare() == 0
print("said", file=sys.stdout), print("told", file=sys.stderr), sys.stdin.read()
places = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
sys.exit(sum(2**number for number, place in enumerate(places) if place == os.devnull and os.get_inheritable(number)))
"""


@pytest.mark.parametrize("closed", ["0", "1", "2", "01", "02", "12", "012"])
def test_each_standard_stream_that_was_closed_leads_nowhere_and_the_others_where_they_did(closed: str) -> None:
    closing = " ".join(f"{number}>&-" for number in closed)
    done = subprocess.run(
        ["bash", "-c", f'exec "$@" {closing}', "bash", sys.executable, "-c", STREAMS], cwd=REPOSITORY, check=False,
        input=b"", capture_output=True,
    )
    assert done.returncode == sum(2 ** int(number) for number in closed), done.stderr
    assert (done.stdout, done.stderr) == (b"" if "1" in closed else b"said\n", b"" if "2" in closed else b"told\n")


def test_help_names_every_command(place: Place) -> None:
    said = place("--help").out
    for command in (
        "init",
        "start",
        "stop",
        "reload",
        "restart",
        "status",
        "doctor",
        "version",
        "jobs",
        "programs",
        "users",
        "tokens",
        "audit",
        "db",
        "config",
    ):
        assert command in said


def test_a_new_interpreter_runs_the_commands_and_says_no_with_the_same_codes(supervisor: Place) -> None:
    job = supervisor.from_scratch("jobs", "enqueue", "count", "--program", 1, "--json").json["id"]
    assert supervisor.from_scratch("status", "--json", code=3).json["queue"]["pending"] == 1
    levels = {each["level"] for each in supervisor.from_scratch("doctor", "--json", code=None).json["findings"]}
    assert "ok" in levels
    assert "error[JOB-STATUS]" in supervisor.from_scratch("jobs", "retry", job, code=5).err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("config", "check"), 0, ""),
        (("jobs", "list"), 0, "No jobs yet."),
        (("jobs", "show", 4711), 4, "error[JOB-NOT-FOUND]"),
        (("restart",), 3, "error[NOT-RUNNING]"),
        (("jobs", "list", "--status", "faild"), 2, "error[USAGE]"),
        (("db", "check", "-c", "unreachable.yaml"), 69, "error[DB-UNREACHABLE]"),
        (("status", "-c", "nowhere.yaml"), 77, "error[PERMISSION]"),
    ],
)
@on_sqlite
def test_each_kind_of_answer_has_its_exit_code_in_a_shell(
    arguments: tuple[object, ...], code: int, said: str, supervisor: Place
) -> None:
    supervisor.write("database_url: postgresql://app@127.0.0.1:1/jobs\n", "unreachable.yaml")
    supervisor.write("database_url: sqlite:///nowhere/jobs.db\n", "nowhere.yaml")
    assert supervisor.from_scratch(*arguments, code=code).err.startswith(said)


def test_a_mistyped_command_is_answered_with_the_one_that_was_meant(place: Place) -> None:
    ran = place("strat", code=2)
    assert ran.err.startswith("error[USAGE] No such command 'strat'. Did you mean 'start'")
    assert not ran.out


def test_a_mistyped_option_is_answered_with_the_one_that_was_meant(place: Place) -> None:
    assert "--limit" in place("jobs", "list", "--limt", "3", code=2).err


def test_an_argument_that_is_no_number_is_a_usage_error(place: Place) -> None:
    assert "'ID'" in place("jobs", "show", "twelve", code=2).err


def test_a_package_of_the_same_name_in_front_of_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "supervisor.main", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 78
    assert f"error[FOREIGN-PACKAGE] the package 'config' is {tmp_path / 'config.py'}, not this project's" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_trace_is_shown_to_those_who_ask(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "supervisor.main", "jobs", "list", "-c", "missing.yaml", "--traceback"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 78
    assert "Traceback" in done.stderr
    assert "error[CFG-NOT-FOUND]" in done.stderr


def test_a_reader_that_leaves_early_is_no_error(place: Place) -> None:
    place("init")
    command = f"{sys.executable} -m supervisor.main config show | head -n 1"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, shell=True, cwd=place.folder, env=environment, capture_output=True, text=True)
    assert done.stdout.count("\n") == 1
    assert not done.stderr


def test_the_version_is_a_line_and_a_document(place: Place) -> None:
    assert place("version").rows[1][0] == "python"
    assert set(place("version", "--json").json) == {"jobqueue", "python"}
