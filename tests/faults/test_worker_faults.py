"""Rows W of the fault matrix: workers killed, stopped, hung, starved of memory, and two of one name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from random import Random

from backends import Status
from tests.permitted import cannot_be_done, own_pids
from tests.supervisor.scene import attempts, freeze, is_gone, moment_of, signal_all
from tests.support import eventually

from .cgroups import limited_memory
from .rounds import KILLED, is_whole_without, rounds_of
from .watched import ON_ONE_DATABASE, RUNNABLE, TAKEN_BACK, Watch, WatchedScene


def test_w1_workers_killed_at_random_times_lose_nothing_but_their_attempt(watch: Watch) -> None:
    """Two hundred such rounds are `python -m tests.faults workers`."""
    rounds_of(watch, 4, Random(1))


def test_w3_workers_resumed_after_their_jobs_were_run_again_change_nothing_and_say_so(watch: Watch) -> None:
    first = watch.scene("first").start()
    jobs = [first.enqueue("outlives_its_lease", last=last)[0] for last in ("write", "return")]
    zombies = [first.runner_of(job_id) for job_id in jobs]
    second = watch.scene("second").start()
    frozen = freeze(first)
    stopped_at = time.monotonic()
    for job_id in jobs:
        first.runner_of(job_id, lease=2, within=15)
    assert time.monotonic() - stopped_at < TAKEN_BACK
    done = [first.becomes(job_id, Status.COMPLETED) for job_id in jobs]
    first.until.touch()
    signal_all([each for each in frozen if each.pid in zombies], signal.SIGCONT)
    for job_id in jobs:
        first.seen("job.lease_lost", job_id=job_id, attempt=1)
    signal_all(frozen, signal.SIGCONT)
    eventually(lambda: first.status["state"] == "running" and len(first.worker_pids) == 2)
    for job_id, then in zip(jobs, done, strict=True):
        now = first.job(job_id)
        assert (now.status, now.completed_at, now.retry_count, now.interruptions) == (Status.COMPLETED, then.completed_at, 0, 1)
    assert len(first.events("job.lease_lost")) == 2
    assert [first.stop(), second.stop()] == [0, 0]
    assert watch.violations() == []


@ON_ONE_DATABASE
def test_w4_a_worker_stopped_for_less_than_a_third_of_the_lock_timeout_is_left_alone(watch: Watch) -> None:
    """On one database: the supervisor alone judges how long a worker was stopped."""
    scene = watch.scene(workers=1, lock_timeout=6).start()
    [job_id] = scene.enqueue("lives_until_file")
    worker = scene.runner_of(job_id)
    os.kill(worker, signal.SIGSTOP)
    stopped_at = time.monotonic()
    eventually(lambda: time.monotonic() - stopped_at > 1.0)
    os.kill(worker, signal.SIGCONT)
    scene.until.touch()
    job = scene.becomes(job_id, Status.COMPLETED)
    assert (job.retry_count, job.interruptions, scene.worker_pids) == (0, 0, [worker])
    assert watch.violations() == []


@ON_ONE_DATABASE
def test_w5_and_w6_handlers_that_never_end_keep_their_lease_until_their_timeout_ends_them(watch: Watch) -> None:
    """On one database: the supervisor looks at its workers' slots, and its own clock is what it judges by."""
    given = {"timeout": 3.5, "retry": {"max_retries": 0}}
    types = {name: {"handler": f"tests.faults.handlers:{name}"} | given for name in ("greedy", "deaf")}
    scene = watch.scene(job_types=types, workers=3).start()
    began = time.monotonic()
    jobs = scene.enqueue("greedy") + scene.enqueue("deaf")
    [neighbour] = scene.enqueue("lives_until_file")
    for job_id in jobs:
        scene.becomes(job_id, Status.FAILED, within=20)
        assert time.monotonic() - began < 3.5 + 10
        assert attempts(scene, job_id) == [("timed_out", "ran past its timeout")]
    scene.until.touch()
    assert scene.becomes(neighbour, Status.COMPLETED).retry_count == 0
    eventually(lambda: is_whole_without(scene, 0))
    assert scene.stop() == 0
    assert watch.violations() == []


@ON_ONE_DATABASE
def test_w7_a_job_that_eats_all_memory_fails_with_that_reason_and_its_neighbour_goes_on(watch: Watch) -> None:
    """On one database: the kernel kills, and the supervisor reads why from the group's own files."""
    with limited_memory(300 * 2**20) as prefix:  # for the supervisor and all its processes
        if prefix is None:
            cannot_be_done("this user may not make a control group with a limit of memory")
        scene = watch.scene(retry={"max_retries": 1, "initial": 0.1})
        scene.launch(*prefix)
        eventually(lambda: scene.status.get("state") == "running", within=20)
        [neighbour] = scene.enqueue("lives_until_file")
        beside = scene.runner_of(neighbour)
        [job_id] = scene.enqueue("eats_memory")
        scene.becomes(job_id, Status.FAILED, within=20)
        killed = ("crashed", "the worker ran out of memory and was killed by signal 9 (SIGKILL)")
        assert attempts(scene, job_id) == [killed, killed]
        seen_dead = scene.seen("worker.lost", job_id=job_id, attempt=1)
        assert watch.given_back_at(job_id) - moment_of(seen_dead) < RUNNABLE
        eventually(lambda: len(scene.worker_pids) == 2)
        scene.until.touch()
        job = scene.becomes(neighbour, Status.COMPLETED)
        assert (job.retry_count, job.interruptions, beside in scene.worker_pids) == (0, 0, True)
        assert scene.stop() == 0
    assert watch.violations() == []


THEIR_ENDS = {
    "leaves_quietly": ("crashed", "the worker left with exit code 0"),
    "segfaults": ("crashed", "the worker was killed by signal 11 (SIGSEGV)"),
    "raises_system_exit": ("failed", "SystemExit: 3"),
    "raises_keyboard_interrupt": ("failed", "KeyboardInterrupt"),
    "raises_the_unspeakable": ("failed", "Unspeakable: (its message could not be had: RuntimeError)"),
}
"""What each attempt of such a handler ends as, and why."""


@ON_ONE_DATABASE
def test_w8_handlers_that_end_their_process_are_charged_and_nobody_else(watch: Watch) -> None:
    """On one database: how a crash is put down on each is shown by W1 and W9."""
    scene = watch.scene(retry={"max_retries": 1, "initial": 0.1}).start()
    jobs = {name: scene.enqueue(name)[0] for name in THEIR_ENDS}
    others = scene.enqueue("quick", 10)
    for name, end in THEIR_ENDS.items():
        scene.becomes(jobs[name], Status.FAILED, within=20)
        assert attempts(scene, jobs[name]) == [end, end]
        if end[0] == "crashed":
            assert watch.given_back_at(jobs[name]) - scene.started_at(jobs[name]) < RUNNABLE
    for job_id in others:
        assert scene.becomes(job_id, Status.COMPLETED).retry_count == 0
    eventually(lambda: is_whole_without(scene, 0))
    assert scene.stop() == 0
    assert watch.violations() == []


@ON_ONE_DATABASE
def test_w9_a_fork_that_a_dead_handler_left_with_its_sockets_dies_too_and_holds_nothing_up(watch: Watch) -> None:
    """On one database: its group is killed with it. What a fork that lives holds up is shown on each below."""
    scene = watch.scene(retry={"max_retries": 1}).start()
    note = scene.folder / "children"
    [job_id] = scene.enqueue("leaves_a_fork", children=str(note), leaves="nothing")
    eventually(note.exists)
    scene.runner_of(job_id, lease=2)
    eventually(lambda: is_gone(int(Path(note).read_text())))
    scene.becomes(job_id, Status.COMPLETED)
    assert attempts(scene, job_id) == [KILLED]
    assert watch.given_back_at(job_id) - note.stat().st_mtime < RUNNABLE
    assert scene.stop() == 0
    assert watch.violations() == []


def test_w9_a_fork_that_left_for_a_session_of_its_own_lives_on_and_holds_nothing_up_for_long(
    watch: Watch, backend: str
) -> None:
    """That it lives is in docs/handlers.md. The job waits until a server ends the transaction whose socket it holds."""
    scene = watch.scene(retry={"max_retries": 1}).start()
    note = scene.folder / "children"
    [job_id] = scene.enqueue("leaves_a_fork", children=str(note), leaves="session")
    eventually(note.exists)
    fork = int(note.read_text())
    try:
        scene.runner_of(job_id, lease=2, within=15)
        scene.becomes(job_id, Status.COMPLETED)
        assert not is_gone(fork)
    finally:
        os.kill(fork, signal.SIGKILL)
    assert watch.given_back_at(job_id) - note.stat().st_mtime < (RUNNABLE if backend == "sqlite" else TAKEN_BACK)
    assert attempts(scene, job_id) == [KILLED]
    assert scene.stop() == 0
    assert watch.violations() == []


@ON_ONE_DATABASE
def test_w10_two_hosts_with_the_same_names_and_process_ids_stay_two(watch: Watch) -> None:
    """On one database: how a dead host's lease is taken back on each is shown by W3 and S1."""
    first, second = (_launched(watch.scene(name)) for name in ("first", "second"))
    [job_id] = first.enqueue("lives_until_file_once")
    first.runner_of(job_id)
    eventually(lambda: _runs_a_job(first) or _runs_a_job(second))
    loser, other = (first, second) if _runs_a_job(first) else (second, first)
    tree = freeze(loser)
    killed_at = time.monotonic()
    signal_all(tree, signal.SIGKILL)
    loser.exit_code()
    first.runner_of(job_id, lease=2, within=15)
    assert time.monotonic() - killed_at < TAKEN_BACK
    job = first.becomes(job_id, Status.COMPLETED)
    assert (job.retry_count, job.interruptions) == (0, 1)
    _launched(loser)
    more = first.enqueue("quick", 6)
    for each in more:
        first.becomes(each, Status.COMPLETED)
    assert watch.violations() == []
    assert other.events("worker.lost") == []


def _launched(scene: WatchedScene) -> WatchedScene:
    scene.settings["workers"] = {"count": 2, "process_ids": ["same-1", "same-2"]}
    (scene.folder / "run" / "status.json").unlink(missing_ok=True)
    scene.launch(*own_pids())
    eventually(lambda: scene.status.get("state") == "running", within=20)
    return scene


def _runs_a_job(scene: WatchedScene) -> bool:
    return any(each["phase"] == "running" for each in scene.status["workers"])
