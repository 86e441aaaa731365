"""`start`, `stop`, `reload` and `status` with a real supervisor, on both databases."""

from __future__ import annotations

import os
import signal

from supervisor import read_status
from tests.cli.conftest import CONFIGURATION, HANDLERS, Place, Ran, on_sqlite
from tests.support import eventually


@on_sqlite
def test_nothing_runs_until_it_is_started(supervisor: Place) -> None:
    ran = supervisor("status", code=3)
    assert ran.rows[:3] == [["running", "no"], ["healthy", "no"], ["reason", "no supervisor is running"]]
    assert "supervisor start" in ran.err
    for command in ("stop", "reload", "restart"):
        assert "error[NOT-RUNNING]" in supervisor(command, code=3).err


def test_a_running_supervisor_is_healthy_and_shows_its_workers(running: Place) -> None:
    rows = running("status").rows
    assert rows[:2] == [["running", "yes"], ["healthy", "yes"]]
    assert [row[0] for row in rows].count("worker") == 2
    assert ["jobs", "pending", "0"] in rows


def test_the_status_document_holds_supervisors_and_counts(bystander: Place) -> None:
    job = bystander("jobs", "enqueue", "count", "--program", 1, "--at", "2099-01-01T00:00:00Z", "--json").json["id"]
    answer = bystander("status", "--json").json
    assert answer["running"] is True
    assert answer["healthy"] is True
    assert answer["reasons"] == []
    assert len(answer["supervisors"][0]["workers"]) == 2
    assert answer["queue"]["pending"] == 1
    assert answer["queue"]["oldest_pending"]["id"] == job
    bystander("jobs", "cancel", job)


def test_a_terminal_gets_the_workers_as_a_table(bystander: Place) -> None:
    code, screen = bystander.on_a_terminal("status")
    assert code == 0
    assert "● " in screen.replace("\x1b[0m", "")
    assert "PROCESS_ID" in screen
    assert "queue: 0 pending" in screen


def test_a_supervisor_elsewhere_is_seen_through_the_database(running: Place) -> None:
    running.write(CONFIGURATION.format(database_url=running.database_url) + "run_dir: elsewhere\n", "other.yaml")

    def seen() -> Ran:
        return running("status", "--json", "-c", "other.yaml", code=None)

    answer = eventually(lambda: seen().json["supervisors"], within=10, every=0.1)
    assert answer[0]["pid"] == running.started[0].pid
    assert "seen_seconds_ago" in answer[0]


def test_stop_drains_and_waits_until_it_is_gone(running: Place) -> None:
    ran = running("stop")
    assert ran.rows[0][:2] == ["stopped", f"pid {running.started[0].pid}"]
    assert ran.rows[0][3] == "drained"
    assert running.started[0].wait(5) == 0
    assert running("status", code=3).rows[0] == ["running", "no"]


def test_stop_now_hands_the_running_job_back(running: Place) -> None:
    job = running("jobs", "enqueue", "linger", "--program", 1).rows[0][0]
    eventually(lambda: running("jobs", "show", job, "--json").json["status"] == "running", within=15, every=0.1)
    assert running("stop", "--now").rows[0][3] == "handed back"
    handed_back = running("jobs", "show", job, "--json").json
    assert (handed_back["status"], handed_back["retry_count"]) == ("pending", 0)


@on_sqlite
def test_a_stop_that_takes_too_long_says_so(running: Place) -> None:
    process = running.started[0]
    os.kill(process.pid, signal.SIGSTOP)
    try:
        ran = running("stop", "--timeout", "200ms", code=1)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert "error[STOP-TIMEOUT]" in ran.err
    assert "supervisor stop --now" in ran.err


def test_a_second_supervisor_in_the_same_run_directory_is_refused(bystander: Place) -> None:
    ran = bystander("start", code=5)
    assert "error[PID-RUNNING]" in ran.err
    assert f"pid {bystander.started[0].pid}" in ran.err


@on_sqlite
def test_a_duration_that_is_none_is_a_usage_error(supervisor: Place) -> None:
    assert "error[BAD-DURATION] --timeout:" in supervisor("stop", "--timeout", "soon", code=2).err


@on_sqlite
def test_reload_tells_that_the_new_settings_were_taken(running: Place) -> None:
    before = running("status", "--json").json["supervisors"][0]["config_hash"]
    running.write(CONFIGURATION.format(database_url=running.database_url).replace("workers: 2", "workers: 3"))
    assert running("reload").rows[0][:2] == ["reloaded", f"pid {running.started[0].pid}"]
    after = eventually(
        lambda: next(
            (each for each in running("status", "--json").json["supervisors"] if len(each["workers"]) == 3), None
        ),
        every=0.1,
    )
    assert after["config_hash"] != before


def test_a_file_with_mistakes_is_not_sent(bystander: Place) -> None:
    good = (bystander.folder / "jobqueue.yaml").read_text()
    bystander.write(good + "workerss: 3\n")
    assert "error[CFG-UNKNOWN]" in bystander("reload", code=78).err
    bystander.write(good)
    bystander("status")


def test_what_needs_a_restart_is_refused(bystander: Place) -> None:
    bystander.write(
        CONFIGURATION.format(database_url=bystander.database_url).replace("lock_timeout: 5s", "lock_timeout: 6s")
    )
    said = bystander("reload", code=78).err
    assert said.startswith(f"error[RELOAD-REFUSED] the supervisor (pid {bystander.started[0].pid}) did not take")
    assert "lock_timeout" in said


def test_a_reload_of_an_unchanged_file_is_confirmed_too(bystander: Place) -> None:
    for _ in range(2):
        assert bystander("reload").rows[0][3] == "the file had not changed"


@on_sqlite
def test_restart_brings_new_code_and_settings_into_the_same_process(running: Place) -> None:
    running.write(HANDLERS.replace("no such folder", "not on this disk"), "cli_handlers.py")
    running.write(CONFIGURATION.format(database_url=running.database_url).replace("lock_timeout: 5s", "lock_timeout: 6s"))
    process = running.started[0]
    assert running("restart").rows[0][:2] == ["restarted", f"pid {process.pid}"]
    assert running("status").rows[0] == ["running", "yes"]
    job = running("jobs", "enqueue", "refuse", "--program", 1, "--wait", code=1).rows[0][0]
    assert running("jobs", "show", job, "--json").json["attempts"][0]["reason"] == "not on this disk"
    assert running("stop").rows[0][1] == f"pid {process.pid}"
    assert process.wait(5) == 0


def test_a_restart_into_a_bad_file_or_a_bad_handler_is_not_begun(bystander: Place) -> None:
    before = bystander("status", "--json").json["supervisors"][0]["id"]
    good = (bystander.folder / "jobqueue.yaml").read_text()
    bystander.write(good + "workerss: 3\n")
    assert "error[CFG-UNKNOWN]" in bystander("restart", code=78).err
    bystander.write(good)
    bystander.write("def count(ctx): pass\n", "cli_handlers.py")
    assert "error[CFG-HANDLER]" in bystander("restart", code=78).err
    assert bystander("status", "--json").json["supervisors"][0]["id"] == before


@on_sqlite
def test_a_supervisor_that_does_not_come_up_again_is_said(running: Place) -> None:
    # Only the command's own module path still has the handlers' module as it was.
    running.write("import os, sys\nif 'start' in sys.orig_argv: raise RuntimeError('new code')\n" + HANDLERS, "cli_handlers.py")
    ran = running("restart", code=1)
    assert f"error[RESTART-FAILED] the supervisor (pid {running.started[0].pid}) ended" in ran.err
    assert running.started[0].wait(5) == 78
    assert "new code" in (running.folder / "supervisor.log").read_text()


@on_sqlite
def test_a_restart_that_takes_too_long_says_so(running: Place) -> None:
    process = running.started[0]
    os.kill(process.pid, signal.SIGSTOP)
    try:
        ran = running("restart", "--timeout", "200ms", code=1)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert "error[RESTART-TIMEOUT]" in ran.err


def test_a_lane_that_a_running_supervisor_sees_otherwise_is_refused_by_its_own_id(bystander: Place) -> None:
    other = CONFIGURATION.format(database_url=bystander.database_url) + "run_dir: elsewhere\n"
    bystander.write(other.replace("program:{program_id}", "everything"), "other.yaml")
    said = bystander("start", "-c", "other.yaml", code=78).err
    assert "error[LANE-DISAGREEMENT]" in said
    assert "job type count" in said


@on_sqlite
def test_workers_on_the_command_line_win_over_the_file(supervisor: Place) -> None:
    supervisor.start("--workers", 1)
    run_dir = supervisor.folder / ".jobqueue"
    assert eventually(lambda: read_status(run_dir), within=30)["workers_wanted"] == 1


@on_sqlite
def test_processing_is_stopped_and_begun_while_the_supervisor_stays(running: Place) -> None:
    pid = running("status", "--json").json["supervisors"][0]["pid"]
    for _ in range(2):
        assert running("processor", "stop").rows == [["resting", f"pid {pid}"]]
    answer = running("status", "--json").json
    assert (answer["supervisors"][0]["state"], answer["healthy"]) == ("resting", True)
    job = running("jobs", "enqueue", "count", "--program", 1, "--json").json["id"]
    assert running("jobs", "show", job, "--json").json["status"] == "pending"
    running("processor", "start")
    eventually(lambda: running("jobs", "show", job, "--json").json["status"] == "completed")


@on_sqlite
def test_there_is_nothing_to_steer_without_a_supervisor(supervisor: Place) -> None:
    for command in ("start", "stop"):
        assert "error[NOT-RUNNING]" in supervisor("processor", command, code=3).err


@on_sqlite
def test_the_api_is_served_on_the_port_of_the_command_line_or_not_at_all(supervisor: Place) -> None:
    supervisor.start("--api-port", "0")
    run_dir = supervisor.folder / ".jobqueue"
    api = eventually(lambda: (read_status(run_dir) or {}).get("api"), within=60)
    assert api["url"].startswith("http://127.0.0.1:")
    [shown] = [row for row in supervisor("status", code=None).rows if row[0] == "api"]
    assert shown[2] == api["url"]
    supervisor.end()
    supervisor.write((supervisor.folder / "jobqueue.yaml").read_text() + "api: {enabled: true, port: 0}\n")
    process = supervisor.start("--no-api")
    said = eventually(lambda: (said := read_status(run_dir) or {}).get("pid") == process.pid and said, within=60)
    assert said["api"] is None


@on_sqlite
def test_a_supervisor_whose_standard_streams_were_closed_leads_them_nowhere_and_runs_jobs(supervisor: Place) -> None:
    process = supervisor.start_closed()
    eventually(lambda: supervisor("status", code=None).code == 0, within=20)
    job = supervisor("jobs", "enqueue", "count", "--program", 1, "--json").json["id"]
    eventually(lambda: supervisor("jobs", "show", job, "--json").json["status"] == "completed")
    tree = [process.pid, *(worker["pid"] for worker in supervisor("status", "--json").json["supervisors"][0]["workers"])]
    assert {os.readlink(f"/proc/{pid}/fd/{number}") for pid in tree for number in range(3)} == {os.devnull}
    supervisor("stop")
    assert process.wait(5) == 0
