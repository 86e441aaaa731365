"""What each signal means to a running supervisor."""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from backends import Status
from supervisor import restart_request, running_pid
from tests.chaos import witness
from tests.support import eventually

from .conftest import Stage
from .scene import Scene, attempts, is_gone, moment_of

_SPENT = """
SELECT j.job_type, a.outcome, a.reason FROM jobqueue_job_attempts a JOIN indexing_jobs j ON j.id = a.job_id
WHERE j.retry_count + j.interruptions > 0
"""
PLENTY = 20_000
"""Short jobs, of which some must be left when a drain is over that began after the first hundred."""


def test_a_drain_lets_the_job_in_hand_finish_and_leaves_the_rest_queued(stage: Stage) -> None:
    scene = stage(workers=1).start()
    [in_hand] = scene.enqueue("until_file")
    scene.runner_of(in_hand)
    [queued] = scene.enqueue("quick")
    scene.send(signal.SIGTERM)
    eventually(lambda: scene.status["state"] == "draining")
    scene.until.touch()
    assert scene.exit_code() == 0
    assert scene.job(in_hand).status == Status.COMPLETED
    assert (scene.job(queued).status, scene.job(queued).retry_count) == (Status.PENDING, 0)
    assert scene.status["state"] == "stopped"
    assert running_pid(scene.folder / "run") is None
    assert scene.queue.supervisors() == []


def test_a_drain_has_busy_workers_claim_nothing_after_a_second_and_spends_no_retry(stage: Stage) -> None:
    scene = stage(workers=4)
    engine = scene.queue.engine
    witness.install(engine)
    [slow] = scene.enqueue("until_file")
    scene.enqueue("quick", PLENTY)  # before anybody works, for on SQLite it keeps all others from writing
    scene.start().runner_of(slow)
    eventually(lambda: scene.queue.counts().completed > 100)
    scene.send(signal.SIGTERM)
    told_at = moment_of(scene.seen("supervisor.draining"))
    eventually(lambda: time.time() > told_at + 1.5)
    scene.until.touch()
    assert scene.exit_code() == 0
    left = scene.queue.counts()
    with engine.connect() as connection:
        claims = [each.at for each in witness.read_changes(connection) if each.became == Status.RUNNING]
        spent = connection.execute(text(_SPENT)).all()
    assert max(claims) < told_at + 1.0, f"a claim came {max(claims) - told_at:.3f} s after the drain began"
    assert max(claims) > told_at - 0.5, "nobody was claiming when the drain began"
    assert (left.running, left.failed, spent) == (0, 0, [])
    assert left.pending > PLENTY / 10, "there was nothing left to claim"
    assert scene.job(slow).status == Status.COMPLETED


def test_a_job_still_running_at_the_shutdown_timeout_is_handed_back_unspent(stage: Stage) -> None:
    scene = stage(workers=1, shutdown_timeout=0.5).start()
    [job_id] = scene.enqueue("until_file")
    worker = scene.runner_of(job_id)
    assert scene.stop(signal.SIGTERM) == 0
    job = scene.job(job_id)
    assert (job.status, job.retry_count, job.interruptions) == (Status.PENDING, 0, 0)
    assert attempts(scene, job_id) == [("released", "handed back: its worker was told to leave")]
    assert is_gone(worker)


def test_a_second_interrupt_and_a_quit_hand_everything_back_at_once(stage: Stage) -> None:
    for name, numbers in [("interrupted", [signal.SIGINT, signal.SIGINT]), ("quit", [signal.SIGQUIT])]:
        scene = stage(name, workers=1, shutdown_timeout=60).start()
        [job_id] = scene.enqueue("until_file")
        scene.runner_of(job_id, lease=scene.job(job_id).retry_count + 1)
        for number in numbers:
            scene.send(number)
            eventually(lambda scene=scene: scene.status["state"] in ("draining", "stopped"))  # type: ignore[misc]
        assert scene.exit_code() == 0
        job = scene.job(job_id)
        assert (job.status, job.retry_count, job.interruptions) == (Status.PENDING, 0, 0)
        scene.queue.cancel(job_id)


def test_workers_are_added_and_removed_by_signal(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1).start()
    scene.send(signal.SIGTTIN)
    eventually(lambda: len(scene.worker_pids) == 2 and scene.status["workers"][1]["phase"] == "idle")
    first, second = scene.worker_pids
    scene.send(signal.SIGTTOU)
    eventually(lambda: scene.worker_pids == [first])
    assert is_gone(second)
    scene.send(signal.SIGTTOU)
    assert scene.stop() == 0


def test_a_quiet_supervisor_claims_nothing_until_it_is_told_to_again(stage: Stage) -> None:
    scene = stage(workers=1).start()
    scene.send(signal.SIGUSR2)
    eventually(lambda: scene.status["state"] == "quiet")
    eventually(lambda: scene.status["workers"][0]["phase"] == "idle")
    before = scene.status["workers"][0]["pid"]
    [job_id] = scene.enqueue("quick")
    asked_at = datetime.now(UTC)
    eventually(lambda: _last_looked_at(scene) > asked_at)
    assert scene.job(job_id).status == Status.PENDING
    scene.send(signal.SIGUSR2)
    scene.becomes(job_id, Status.COMPLETED)
    assert scene.status["workers"][0]["pid"] == before


def _last_looked_at(scene: Scene) -> datetime:
    """When the first worker began to wait anew, by the status file."""
    status = scene.status
    return datetime.fromisoformat(status["written_at"]) - timedelta(seconds=status["workers"][0]["since"])


def test_a_reload_replaces_the_workers_one_by_one_and_takes_the_new_count(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=2).start()
    former, maintenance = scene.worker_pids, scene.maintenance_pid
    scene.write_config(workers={"count": 3, "process_ids": ["one-1", "one-2"]}, poll_interval=0.1)
    scene.send(signal.SIGHUP)
    scene.seen("reload.done", workers=3)
    eventually(lambda: len(scene.worker_pids) == 3 and not set(former) & set(scene.worker_pids))
    eventually(lambda: scene.maintenance_pid not in (0, maintenance))
    eventually(lambda: all(worker["phase"] == "idle" for worker in scene.status["workers"]))
    assert not scene.events("worker.lost")
    assert scene.stop() == 0


def test_a_reload_with_a_bad_file_keeps_the_old_one_and_says_everything_that_is_wrong(quiet_stage: Stage) -> None:
    scene = quiet_stage().start()
    former = scene.worker_pids
    scene.config.write_text(json.dumps(scene.settings | {"poll_intervall": 1, "lock_timeout": "soon"}))
    scene.send(signal.SIGHUP)
    eventually(lambda: len(scene.events("reload.refused")) == 2)
    scene.write_config(lock_timeout=4)
    scene.send(signal.SIGHUP)
    refused = eventually(lambda: scene.events("reload.refused")[2:])
    assert "lock_timeout" in refused[0]["problem"]
    assert "restart" in refused[0]["problem"]
    eventually(lambda: scene.status["reload_refused"] == [refused[0]["problem"]])
    assert scene.status["reloaded_at"]
    [job_id] = scene.enqueue("quick")
    scene.becomes(job_id, Status.COMPLETED)
    assert scene.worker_pids == former


def test_stacks_of_all_processes_are_dumped(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1).start()
    [job_id] = scene.enqueue("until_file")
    scene.runner_of(job_id)
    scene.send(signal.SIGUSR1)
    eventually(lambda: scene.log.read_text().count("most recent call first") >= 4)
    eventually(lambda: "in until_file" in scene.log.read_text() or scene.send(signal.SIGUSR1), every=0.5)  # they write at once
    assert scene.status["state"] == "running"
    scene.until.touch()
    scene.becomes(job_id, Status.COMPLETED)


def test_a_restart_keeps_the_process_and_its_lock_and_a_stop_meanwhile_wins(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1).start()
    former, pid, run_dir = scene.status["id"], scene.status["pid"], scene.folder / "run"
    with restart_request(run_dir, pid):
        scene.send(signal.SIGTERM)
        eventually(lambda: running_pid(run_dir) == pid and scene.status["id"] != former, within=20)
    eventually(lambda: scene.status["state"] == "running", within=20)
    [job_id] = scene.enqueue("until_file")
    scene.runner_of(job_id)
    with restart_request(run_dir, pid):
        scene.send(signal.SIGTERM)
        eventually(lambda: scene.status["state"] == "draining")
        scene.send(signal.SIGTERM)
        scene.until.touch()
        assert scene.exit_code() == 0
    assert scene.status["state"] == "stopped"
    scene.becomes(job_id, Status.COMPLETED)
    assert [event["because"] for event in scene.events("supervisor.draining")] == ["restart", "restart"]


def test_a_request_that_a_crash_left_does_not_turn_a_stop_into_a_restart(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1).start()
    (scene.folder / "run" / "restart.request").write_text(f"{scene.status['pid']}\n")
    assert scene.stop(signal.SIGTERM) == 0
    assert not scene.events("supervisor.restarting")
    assert not (scene.folder / "run" / "restart.request").exists()


def test_a_storm_of_signals_is_survived(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1).start()
    for _ in range(50):
        for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2, signal.SIGUSR2):
            scene.send(number)
    [job_id] = scene.enqueue("quick")

    def is_done() -> bool:
        """The kernel merges equal signals, so the storm may end with a quiet supervisor."""
        if scene.status["state"] == "quiet":
            scene.send(signal.SIGUSR2)
        return scene.job(job_id).status == Status.COMPLETED

    eventually(is_done, within=20, every=1.0)
    assert scene.stop() == 0
