"""A worker killed in mid-job at a random time, again and again, and how long its job and its place waited."""

from __future__ import annotations

import os
import signal
import time
from random import Random

from backends import Status
from tests.chaos.recovery import Distribution
from tests.supervisor.scene import attempts, moment_of
from tests.support import eventually

from .asked import Asked
from .watched import RUNNABLE, WHOLE, Watch, WatchedScene, watch_of

KILLED = ("crashed", "the worker was killed by signal 9 (SIGKILL)")


def kill_workers(scene: WatchedScene, rounds: int, random: Random) -> tuple[dict[int, float], Distribution]:
    """When each job's worker was killed, in seconds of the epoch, and the seconds until as many workers as before could claim."""
    killed_at, whole = {}, Distribution()
    for _ in range(rounds):
        [job_id] = scene.enqueue("lives_until_file_once")
        victim, moment = scene.runner_of(job_id), time.monotonic() + random.uniform(0, 0.3)
        eventually(lambda moment=moment: time.monotonic() > moment, every=0.001)  # type: ignore[misc]
        killed_at[job_id] = time.time()
        os.kill(victim, signal.SIGKILL)
        scene.runner_of(job_id, lease=2)
        eventually(lambda victim=victim: is_whole_without(scene, victim))  # type: ignore[misc]
        whole.append(moment_of(scene.events("worker.ready")[-1]) - killed_at[job_id])
    return killed_at, whole


def is_whole_without(scene: WatchedScene, victim: int) -> bool:
    """True when every place has a worker that can claim, none of them the one that was killed."""
    workers = scene.status["workers"]
    return all(each["pid"] and each["pid"] != victim and each["phase"] == "idle" for each in workers)


def rounds_of(watch: Watch, rounds: int, random: Random) -> tuple[Distribution, Distribution]:
    """The seconds until each job ran again, and until all workers were back, once it is sure that neither took too long.

    Each job lost one attempt to its kill, and nothing else was lost.
    """
    scene = watch.scene().start()
    killed_at, whole = kill_workers(scene, rounds, random)
    for job_id in killed_at:
        assert scene.becomes(job_id, Status.COMPLETED).retry_count == 1
        assert attempts(scene, job_id) == [KILLED]
    assert scene.stop() == 0
    violations = watch.violations()
    assert not violations, violations
    again = Distribution(scene.started_at(job_id, lease=2) - killed for job_id, killed in killed_at.items())
    assert max(again) < RUNNABLE, again
    assert max(whole) < WHOLE, whole
    return again, whole


def workers(asked: Asked) -> str:
    """W1: workers killed at random times, round after round."""
    with watch_of(asked.backend) as watch:
        again, whole = rounds_of(watch, asked.rounds, Random(asked.seed))
    return (
        f"{asked.backend}, seed {asked.seed}, {asked.rounds} kills, 0 violations\n"
        f"  until the job ran again: {again}\n  until as many workers as before could claim: {whole}"
    )
