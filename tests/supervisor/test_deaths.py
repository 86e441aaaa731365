"""A worker that dies, hangs or misbehaves: its job goes on with the true reason, its place is filled, neighbours go unspent."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from backends import NewJob, Status
from tests.support import eventually

from .conftest import Stage
from .scene import Scene, attempts, is_gone


def test_a_worker_killed_in_mid_job_has_its_job_run_again_within_a_second(stage: Stage) -> None:
    scene = stage().start()
    [job_id] = scene.enqueue("first_time_until_file")
    victim = scene.runner_of(job_id)
    killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    scene.runner_of(job_id, lease=2, within=5)
    assert time.monotonic() - killed_at < 1.0
    job = scene.becomes(job_id, Status.COMPLETED)
    assert (job.retry_count, job.interruptions) == (1, 0)
    assert attempts(scene, job_id) == [("crashed", "the worker was killed by signal 9 (SIGKILL)")]
    eventually(lambda: len(scene.worker_pids) == 2 and victim not in scene.worker_pids)
    assert scene.stop() == 0


def test_neighbours_in_the_batch_of_a_killed_worker_go_unspent(stage: Stage) -> None:
    scene = stage(workers=1).start()
    warm_up = scene.enqueue("quick", 60)
    for job_id in warm_up:
        scene.becomes(job_id, Status.COMPLETED, within=20)
    [poison] = scene.enqueue("leaves_quietly")
    neighbours = scene.enqueue("quick", 20)
    for job_id in neighbours:
        scene.becomes(job_id, Status.COMPLETED, within=20)
    assert all(scene.job(each).retry_count == 0 for each in neighbours)
    assert scene.becomes(poison, Status.FAILED, within=20).retry_count == 3


def test_a_stopped_worker_is_killed_and_replaced_after_a_third_of_the_lock_timeout(stage: Stage) -> None:
    scene = stage().start()
    [job_id] = scene.enqueue("first_time_until_file")
    victim = scene.runner_of(job_id)
    stopped_at = time.monotonic()
    os.kill(victim, signal.SIGSTOP)
    scene.runner_of(job_id, lease=2, within=5)
    assert 0.9 < time.monotonic() - stopped_at < 2.5
    assert is_gone(victim)
    scene.becomes(job_id, Status.COMPLETED)
    assert attempts(scene, job_id) == [("crashed", "the worker was stopped (process state T) for 1 s")]


def test_a_worker_stopped_for_a_moment_is_left_alone(stage: Stage) -> None:
    scene = stage(workers=1).start()
    [job_id] = scene.enqueue("until_file")
    worker = scene.runner_of(job_id)
    os.kill(worker, signal.SIGSTOP)
    stopped_at = time.monotonic()
    eventually(lambda: time.monotonic() - stopped_at > 0.5)
    os.kill(worker, signal.SIGCONT)
    scene.until.touch()
    job = scene.becomes(job_id, Status.COMPLETED)
    assert (job.retry_count, job.interruptions) == (0, 0)
    assert scene.worker_pids == [worker]


def test_handlers_that_end_their_process_fail_with_the_true_reason_and_give_the_place_back_at_once(stage: Stage) -> None:
    scene = stage(retry={"max_retries": 0, "initial": 0.1}).start()
    reasons = {
        "leaves_quietly": ("crashed", "the worker left with exit code 0"),
        "segfaults": ("crashed", "the worker was killed by signal 11 (SIGSEGV)"),
        "raises_system_exit": ("failed", "SystemExit"),
        "raises_the_unspeakable": ("failed", "Unspeakable"),
    }
    jobs = {name: scene.enqueue(name)[0] for name in reasons}
    [afterwards] = scene.enqueue("quick")
    scene.becomes(afterwards, Status.COMPLETED)
    for name, (outcome, reason) in reasons.items():
        scene.becomes(jobs[name], Status.FAILED)
        [(its_outcome, its_reason)] = attempts(scene, jobs[name])
        assert its_outcome == outcome
        assert reason in its_reason
    eventually(lambda: len(scene.worker_pids) == 2)
    assert scene.stop() == 0


def test_a_handler_that_hangs_is_ended_after_its_timeout_whatever_it_ignores(stage: Stage) -> None:
    stubborn = {
        name: {"handler": f"tests.supervisor.handlers:{name}", "timeout": 0.5, "retry": {"max_retries": 0}}
        for name in ("deaf", "greedy", "until_file")
    }
    scene = stage(workers=3, job_types=stubborn).start()
    jobs = [scene.enqueue(name)[0] for name in stubborn]
    for job_id in jobs:
        scene.becomes(job_id, Status.FAILED, within=10)
        assert attempts(scene, job_id) == [("timed_out", "ran past its timeout")]
    eventually(lambda: all(worker["phase"] == "idle" for worker in scene.status["workers"]))


def test_what_a_handler_left_behind_dies_with_its_worker(stage: Stage) -> None:
    scene = stage(retry={"max_retries": 0}).start()
    note = scene.folder / "children"
    [job_id] = scene.enqueue("leaves_children", children=str(note))
    scene.becomes(job_id, Status.FAILED)
    eventually(lambda: is_gone(int(Path(note).read_text())))


def test_a_job_whose_worker_dies_each_time_it_records_the_outcome_ends_failed_and_its_neighbours_completed(
    stage: Stage,
) -> None:
    scene = stage(workers=1).start()
    for job_id in scene.enqueue("quick", 60):
        scene.becomes(job_id, Status.COMPLETED, within=20)
    given = {"notes": str(scene.notes)}
    names = [*["quick"] * 3, "leaves_damage", *["quick"] * 3]
    jobs = scene.queue.enqueue([NewJob(name, 1, parameters=given) for name in names])
    poison, neighbours = jobs[3], jobs[:3] + jobs[4:]
    job = scene.becomes(poison, Status.FAILED, within=60)
    assert (job.retry_count, job.interruptions) == (0, 21)
    assert job.error_message == (
        "interrupted 21 times, last: not settled before its worker died: the worker left with exit code 70"
    )
    for each in neighbours:
        neighbour = scene.becomes(each, Status.COMPLETED)
        assert (neighbour.retry_count, neighbour.interruptions <= 1) == (0, True), neighbour
    assert scene.stop() == 0


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("by returning", ""), ("by an error", "ValueError: in the child"), ("as scripts do", "SystemExit: 0"),
        ("out of a transaction", "InheritedConnection"),
    ],
)
def test_a_child_that_a_handler_forked_ends_where_it_comes_out_and_its_parent_goes_on(
    stage: Stage, how: str, error: str
) -> None:
    scene = stage(workers=1).start()
    for job_id in scene.enqueue("quick", 60):
        scene.becomes(job_id, Status.COMPLETED, within=20)
    [worker], before = scene.worker_pids, len(scene.starts())
    child = scene.folder / "child"
    given = {"notes": str(scene.notes), "how": how, "children": str(child)}
    jobs = scene.queue.enqueue([NewJob(name, 1, parameters=given) for name in ("forks", *["quick"] * 20)])
    for job_id in jobs:
        job = scene.becomes(job_id, Status.COMPLETED)
        assert (job.retry_count, job.interruptions) == (0, 0)
    ran = sorted((job_id, pid) for pid, _, job_id in scene.starts()[before:])
    assert ran == [(job_id, worker) for job_id in jobs], "somebody else ran them, or again"
    assert child.read_text() == "70"
    assert [process.pid for process in psutil.Process(worker).children()] == []
    assert scene.worker_pids == [worker]
    told = scene.seen("handler.child_came_back", job_id=jobs[0], process_id="one-1")
    assert error in told["exception"] if error else "exception" not in told


def test_a_cancelled_job_is_told_and_then_made_to_end(stage: Stage) -> None:
    scene = stage().start()
    [obedient], [deaf] = scene.enqueue("obedient"), scene.enqueue("deaf")
    worker = scene.runner_of(obedient)
    scene.runner_of(deaf)
    for job_id in (obedient, deaf):
        scene.queue.cancel(job_id)
    for job_id in (obedient, deaf):
        assert scene.becomes(job_id, Status.CANCELLED).retry_count == 0
    assert worker in scene.worker_pids


def test_who_obeyed_at_the_last_moment_is_not_killed_for_not_having_been_seen_to(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1, lock_timeout=30).start()
    [job_id] = scene.enqueue("until_file")
    worker = scene.runner_of(job_id)
    scene.queue.cancel(job_id)
    scene.seen("worker.overdue", cause="cancel")
    with unseen(scene, for_seconds=GRACE + 0.2):
        scene.until.touch()
        scene.becomes(job_id, Status.COMPLETED)
    [afterwards] = scene.enqueue("quick")
    scene.becomes(afterwards, Status.COMPLETED)
    assert scene.runner_of(afterwards) == worker
    assert scene.events("worker.lost") == []


def test_who_obeyed_its_deadline_has_time_to_settle(quiet_stage: Stage) -> None:
    impatient = {"until_file": {"handler": "tests.supervisor.handlers:until_file", "timeout": 0.3}}
    scene = quiet_stage(workers=1, lock_timeout=30, job_types=impatient).start()
    [job_id] = scene.enqueue("until_file")
    scene.runner_of(job_id)
    scene.seen("worker.overdue", cause="deadline")
    with scene.queue.engine.begin(), unseen(scene, for_seconds=GRACE + 0.2):
        scene.until.touch()
    job = scene.becomes(job_id, Status.COMPLETED)
    assert (job.interruptions, attempts(scene, job_id)) == (0, [])


GRACE = 5.0
"""Seconds that a handler has to end once it was told to, where `lock_timeout` is 30 s."""


@contextmanager
def unseen(scene: Scene, for_seconds: float) -> Iterator[None]:
    """The supervisor is stopped meanwhile, for so long at the least."""
    scene.send(signal.SIGSTOP)
    over = time.monotonic() + for_seconds
    yield
    eventually(lambda: time.monotonic() > over)
    scene.send(signal.SIGCONT)


def test_a_fenced_transaction_held_open_lets_no_other_lease_lapse(stage: Stage) -> None:
    scene = stage(workers=2).start()
    [other] = scene.enqueue("first_time_until_file")
    scene.runner_of(other)
    [holder] = scene.enqueue("holds_its_transaction", until=str(scene.folder / "never"))
    scene.becomes(holder, Status.COMPLETED, within=15)
    [(outcome, reason)] = attempts(scene, holder)
    assert (outcome, reason[:34]) == ("timed_out", "held a fenced transaction open for")
    scene.until.touch()
    job = scene.becomes(other, Status.COMPLETED)
    assert (job.retry_count, job.interruptions, attempts(scene, other)) == (0, 0, [])
