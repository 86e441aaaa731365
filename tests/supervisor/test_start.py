"""What can go wrong before and while workers start."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import psutil
import pytest

from backends import Status
from config import Settings
from supervisor.preparing import prepare
from tests.support import eventually

from .conftest import Stage


def handler_module(folder: Path, name: str, text: str) -> str:
    """Write a module with a function `run`; returns the handler's name."""
    (folder / f"{name}.py").write_text(f"{text}\ndef run(ctx):\n    pass\n")
    return f"{name}:run"


def test_every_handler_that_cannot_be_imported_is_named_with_its_place_and_a_suggestion(quiet_stage: Stage) -> None:
    scene = quiet_stage()
    broken = handler_module(scene.folder, "broken_at_import", "raise RuntimeError('no such luck')")
    scene.settings["job_types"] = {"a": "tests.supervisor.handlers:quik", "b": broken, "c": "tests.supervisor.handlers:quick"}
    scene.launch()
    assert scene.exit_code() == 78
    said = scene.log.read_text()
    assert "did you mean" in said
    assert "quick" in said
    assert "RuntimeError: no such luck" in said


def test_a_handler_module_that_exits_or_hangs_at_import_is_named(quiet_stage: Stage) -> None:
    scene = quiet_stage(supervision={"ready_timeout": 1})
    exits = handler_module(scene.folder, "exits_at_import", "import os; os._exit(0)")
    hangs = handler_module(scene.folder, "hangs_at_import", "import time; time.sleep(60)")
    scene.settings["job_types"] = {"a": exits, "b": hangs}
    scene.launch()
    assert scene.exit_code() == 78
    said = scene.log.read_text()
    assert "importing exits_at_import ended the process with exit code 0" in said
    assert "importing hangs_at_import took longer than 1 s" in said


def test_a_module_that_leaves_a_thread_is_imported_by_each_worker_for_itself(quiet_stage: Stage) -> None:
    scene = quiet_stage()
    text = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    scene.settings["job_types"]["threaded"] = handler_module(scene.folder, "leaves_a_thread", text)
    scene.start()
    assert scene.seen("handlers.not_preloaded")["module"] == "leaves_a_thread"
    [job_id] = scene.enqueue("threaded")
    scene.becomes(job_id, Status.COMPLETED)
    assert psutil.Process(scene.process.pid).num_threads() == 1  # type: ignore[union-attr]


def test_workers_that_crash_at_start_back_off_visibly_and_end_the_supervisor_with_1(quiet_stage: Stage) -> None:
    scene = quiet_stage(supervision={"restart_backoff": {"initial": 0.3, "max": 0.5}, "crash_limit": {"count": 3}})
    # Unfit for preloading, and fatal to everybody but the process that probes it.
    text = (
        "import os, threading, time, setproctitle\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "if 'worker' in setproctitle.getproctitle(): os._exit(9)"
    )
    scene.settings["job_types"]["fatal"] = handler_module(scene.folder, "fatal_at_once", text)
    scene.launch()
    eventually(lambda: any(worker["phase"] == "backing off" for worker in scene.status.get("workers", [])))
    assert scene.exit_code(20) == 1
    assert scene.status["state"] == "crash loop"
    assert "exit code 9" in scene.status["last_death"]
    assert scene.events("supervisor.crash_loop")[0]["last_reason"].endswith("exit code 9")
    assert not scene.tree()


def test_a_worker_that_never_becomes_ready_is_killed_after_the_ready_timeout(quiet_stage: Stage) -> None:
    pauses = {"initial": 0.1, "max": 0.2}
    scene = quiet_stage(
        workers=1, supervision={"ready_timeout": 0.6, "restart_backoff": pauses, "crash_limit": {"count": 2}}
    )
    text = (
        "import threading, time, setproctitle\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "if 'worker' in setproctitle.getproctitle(): time.sleep(600)"
    )
    scene.settings["job_types"]["slow"] = handler_module(scene.folder, "never_ready", text)
    scene.launch()
    assert scene.exit_code(20) == 1
    assert [event["reason"] for event in scene.events("worker.lost")] == ["was not ready within 0.6 s"] * 3


def test_idle_workers_killed_once_are_replaced_and_are_no_crash_loop(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=4, supervision={"crash_limit": {"count": 2}}).start()
    former = scene.worker_pids
    for pid in former:
        psutil.Process(pid).kill()
    eventually(lambda: len(scene.worker_pids) == 4 and not set(former) & set(scene.worker_pids))
    assert scene.status["state"] == "running"
    assert [worker["restarts"] for worker in scene.status["workers"]] == [1, 1, 1, 1]


def test_a_second_supervisor_in_the_same_run_directory_is_refused(quiet_stage: Stage) -> None:
    scene = quiet_stage().start()
    other = quiet_stage("other", run_dir=str(scene.folder / "run"))
    other.launch()
    assert other.exit_code() == 5
    assert f"pid {scene.status['pid']}" in other.log.read_text()
    assert scene.status["state"] == "running"


def test_a_signal_before_anything_runs_ends_the_start(quiet_stage: Stage) -> None:
    scene = quiet_stage(supervision={"ready_timeout": 10})
    scene.settings["job_types"] = {"slow": handler_module(scene.folder, "slow_import", "import time; time.sleep(60)")}
    scene.launch()
    eventually(lambda: any("imports slow_import" in " ".join(each.cmdline()) for each in scene.tree()))
    assert scene.stop(signal.SIGTERM) == 0
    assert not scene.tree()


def test_a_run_directory_that_cannot_be_made_is_a_matter_of_permission(quiet_stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    scene = quiet_stage(run_dir=str(tmp_path / "file" / "run"))
    scene.launch()
    assert scene.exit_code() == 77
    assert "run_dir" in scene.log.read_text()


def test_a_database_that_cannot_be_reached_is_told_with_its_exit_code_and_without_its_password() -> None:
    settings = Settings(database_url="postgresql://somebody:sesame@127.0.0.1:9/nothing")
    told: list[dict[str, str]] = []
    assert prepare(settings, "me", told.append, try_for=0.0) == 69
    [message] = told
    assert message["problem"].startswith("cannot reach postgresql://somebody:")
    assert "sesame" not in message["problem"]


def test_a_folder_that_is_not_there_is_told_without_a_traceback(quiet_stage: Stage, tmp_path: Path) -> None:
    scene = quiet_stage()
    scene.settings["database_url"] = f"sqlite:///{tmp_path}/nowhere/queue.db"
    scene.launch()
    assert scene.exit_code() == 77
    said = scene.log.read_text()
    assert "nowhere/queue.db" in said
    assert "Traceback" not in said


def test_a_lane_that_a_running_supervisor_sees_otherwise_is_refused(quiet_stage: Stage) -> None:
    quiet_stage("first").start()
    other = quiet_stage("other", job_types={"quick": {"handler": "tests.supervisor.handlers:quick", "lane": "all"}})
    eventually(lambda: other.queue.supervisors())
    other.launch()
    assert other.exit_code() == 78
    assert "job type quick" in other.log.read_text()


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGKILL])
def test_only_the_first_supervisor_of_a_database_has_programs_scanned(stage: Stage, tmp_path: Path, ends: int) -> None:
    declared = {"id": 3, "name": "Papers", "folder": str(tmp_path), "index": "on_start"}
    more = {"workers": 1, "extensions": ["apps.extension"], "programs": [declared]}
    first = stage("first", **more).start()
    eventually(first.queue.supervisors)
    assert "job 1 will scan program 3" in first.seen("extension.said", said="job 1 will scan program 3 (Papers)")["said"]
    assert first.queue.cancel(1)
    other = stage("other", **more).start()
    assert first.queue.get(2) is None
    assert other.stop() == 0
    first.stop(ends)
    first.start()
    assert eventually(lambda: first.queue.get(2))


def test_a_limit_of_open_files_is_raised_as_far_as_allowed_and_else_said_with_what_is_needed(quiet_stage: Stage) -> None:
    refused = quiet_stage("refused", workers=7)
    refused.launch("bash", "-c", 'ulimit -n 64; exec "$@"', "bash")
    assert refused.exit_code() == 1
    said = "7 workers need 77 open files, but the limit is 64: raise it (ulimit -n 77), or have fewer workers"
    assert refused.log.read_text() == f"{said}\n"
    allowed = quiet_stage("allowed", workers=7)
    allowed.launch("bash", "-c", 'ulimit -Sn 64; exec "$@"', "bash")
    assert allowed.seen("supervisor.ready", within=30)["workers"] == 7
    assert psutil.Process(allowed.process.pid).num_fds() <= 77  # type: ignore[union-attr]
    assert allowed.stop() == 0


MANY_OPEN = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
for _ in range(1030):
    os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_descriptors_with_high_numbers_are_waited_for_as_hundreds_of_workers_have_them(quiet_stage: Stage) -> None:
    scene = quiet_stage()
    scene.launch(sys.executable, "-c", MANY_OPEN)
    scene.seen("supervisor.ready", within=20)
    scene.becomes(*scene.enqueue("quick"), Status.COMPLETED)
    assert not scene.events("worker.lost") + scene.events("maintenance.lost")
    assert scene.stop() == 0


def test_an_extension_does_its_part_at_start_and_is_quoted_in_the_log(quiet_stage: Stage) -> None:
    scene = quiet_stage(programs=[{"id": 3, "name": "Papers", "source": "google_drive"}])
    (scene.folder / "addition.py").write_text(
        "from backends import NewJob\n"
        "def on_start(engine, declared, enqueue, is_first):\n"
        "    with engine.begin() as connection:\n"
        "        return [f'{each[\"name\"]}: job {enqueue(NewJob(\"x\", each[\"id\"]), connection)}' for each in declared]\n"
    )
    scene.settings["extensions"] = ["addition"]
    scene.start()
    assert scene.seen("extension.said")["said"] == "Papers: job 1"
    assert scene.job(1).program_id == 3
