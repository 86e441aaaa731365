"""Maintenance, supervisor or all of them killed or stopped, alone and beside a second supervisor."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil

from backends import Status
from tests.support import eventually

from .conftest import Stage
from .scene import attempts, freeze, is_gone, signal_all


def test_maintenance_killed_or_stopped_is_replaced_before_a_lease_lapses(stage: Stage) -> None:
    scene = stage(workers=1).start()
    [job_id] = scene.enqueue("until_file")
    scene.runner_of(job_id)
    for number in (signal.SIGKILL, signal.SIGSTOP):
        former = scene.maintenance_pid
        os.kill(former, number)
        eventually(lambda former=former: scene.maintenance_pid not in (0, former) and is_gone(former))  # type: ignore[misc]
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > 3.5)
    scene.until.touch()
    job = scene.becomes(job_id, Status.COMPLETED)
    assert (job.retry_count, job.interruptions) == (0, 0)
    killed, stopped = (event["reason"] for event in scene.events("maintenance.lost"))
    assert killed == "ended with signal 9 (SIGKILL)"
    assert "gave no sign of life" in stopped


def test_a_death_that_maintenance_did_not_confirm_is_told_to_the_next_one(stage: Stage) -> None:
    scene = stage().start()
    [job_id] = scene.enqueue("first_time_until_file")
    victim = scene.runner_of(job_id)
    os.kill(scene.maintenance_pid, signal.SIGSTOP)
    os.kill(victim, signal.SIGKILL)
    scene.runner_of(job_id, lease=2, within=5)
    job = scene.becomes(job_id, Status.COMPLETED)
    assert (job.retry_count, job.interruptions) == (1, 0)


def test_a_supervisor_whose_output_nobody_reads_any_more_replaces_what_dies(quiet_stage: Stage) -> None:
    reader, writer = os.pipe()
    scene = quiet_stage(workers=1).start(output=writer)
    os.close(writer)
    os.close(reader)
    for victim in (lambda: scene.maintenance_pid, lambda: scene.worker_pids[0]):
        former = victim()
        os.kill(former, signal.SIGKILL)
        eventually(lambda victim=victim, former=former: victim() not in (0, former))  # type: ignore[misc]
    [job_id] = scene.enqueue("quick")
    scene.becomes(job_id, Status.COMPLETED)
    assert scene.stop() == 0


def test_a_supervisor_that_may_open_nothing_more_replaces_maintenance_and_api_as_soon_as_it_may(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1, api={"enabled": True, "port": 0, "auth": "none"}).start()
    assert scene.process is not None
    own = psutil.Process(scene.process.pid)
    eventually(lambda: scene.status["api"]["state"] == "running")
    before = own.rlimit(psutil.RLIMIT_NOFILE)
    kept_open = 16
    assert all(Path(f"/proc/{own.pid}/fd/{number}").is_symlink() for number in range(kept_open))
    own.rlimit(psutil.RLIMIT_NOFILE, (kept_open, before[1]))
    former = scene.maintenance_pid, scene.status["api"]["pid"]
    for pid in former:
        os.kill(pid, signal.SIGKILL)
    for lost in ("maintenance.lost", "api.lost"):
        scene.seen(lost, reason="could not be started: [Errno 24] Too many open files")
    own.rlimit(psutil.RLIMIT_NOFILE, before)
    eventually(lambda: scene.maintenance_pid not in (0, former[0]) and scene.status["api"]["pid"] not in (None, former[1]))
    assert scene.stop() == 0


def test_a_killed_supervisor_takes_its_workers_with_it_and_another_runs_their_jobs(stage: Stage) -> None:
    first = stage("first").start()
    [job_id] = first.enqueue("first_time_until_file")
    first.runner_of(job_id)
    tree = first.tree()
    second = stage("second").start()
    killed_at = time.monotonic()
    first.send(signal.SIGKILL)
    first.exit_code()
    workers = first.worker_pids
    eventually(lambda: is_gone(*workers), within=2)
    first.runner_of(job_id, lease=2, within=8)
    assert time.monotonic() - killed_at < 3 + 6
    job = first.becomes(job_id, Status.COMPLETED)
    assert (job.retry_count, job.interruptions) == (0, 1)
    eventually(lambda: is_gone(*(process.pid for process in tree)), within=10)
    assert second.stop() == 0


def test_a_tree_killed_as_a_whole_loses_its_jobs_to_another_after_the_lock_timeout(stage: Stage) -> None:
    first = stage("first").start()
    [job_id] = first.enqueue("first_time_until_file")
    first.runner_of(job_id)
    second = stage("second").start()
    tree = freeze(first)
    signal_all(tree, signal.SIGKILL)
    job_again = first.runner_of(job_id, lease=2, within=10)
    assert job_again in second.worker_pids
    job = first.becomes(job_id, Status.COMPLETED)
    assert (job.retry_count, job.interruptions) == (0, 1)
    [(outcome, reason)] = attempts(second, job_id)
    assert outcome == "interrupted"
    assert "not renewed" in reason


def test_a_tree_stopped_for_longer_than_the_lock_timeout_can_change_nothing_when_it_wakes(stage: Stage) -> None:
    first = stage("first").start()
    [job_id] = first.enqueue("until_file")
    zombie = first.runner_of(job_id)
    second = stage("second").start()
    frozen = freeze(first)
    first.runner_of(job_id, lease=2, within=10)
    first.until.touch()
    done = first.becomes(job_id, Status.COMPLETED)
    signal_all(frozen, signal.SIGCONT)
    eventually(lambda: is_gone(zombie) or zombie not in [each["pid"] for each in first.status["workers"]], within=10)
    eventually(lambda: first.status["state"] == "running" and len(first.worker_pids) == 2)
    now = first.job(job_id)
    assert (now.status, now.completed_at, now.interruptions) == (Status.COMPLETED, done.completed_at, 1)
    assert len(attempts(first, job_id)) == 1
    assert first.stop() == 0
    assert second.stop() == 0


def test_two_supervisors_share_the_work_of_one_database(stage: Stage) -> None:
    first, second = stage("first", workers=1).start(), stage("second", workers=1).start()
    jobs = [each for _ in range(20) for each in first.enqueue("quick")]
    for job_id in jobs:
        first.becomes(job_id, Status.COMPLETED)
    assert sorted(job for _, _, job in first.starts()) == sorted(jobs)
    eventually(lambda: len(first.queue.supervisors()) == 2)  # maintenance may report after all the work is done
    assert [first.stop(), second.stop()] == [0, 0]
    assert first.queue.supervisors() == []
