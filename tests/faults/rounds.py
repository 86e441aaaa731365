"""A worker killed in mid-job at a random time, again and again, and how long its job and its place waited."""

from __future__ import annotations

import os
import signal
import time
from random import Random

from backends import Status
from tests.chaos.recovery import Distribution
from tests.supervisor.scene import attempts
from tests.support import eventually

from .asked import Asked
from .watched import Watch, WatchedScene, watch_of

KILLED = ("crashed", "the worker was killed by signal 9 (SIGKILL)")


def kill_workers(scene: WatchedScene, rounds: int, random: Random) -> tuple[list[int], Distribution, Distribution]:
    """The jobs, the seconds until each ran again, and the seconds until as many workers as before were ready."""
    jobs, again, whole = [], Distribution(), Distribution()
    for _ in range(rounds):
        [job_id] = scene.enqueue("lives_until_file_once")
        victim, moment = scene.runner_of(job_id), time.monotonic() + random.uniform(0, 0.3)
        eventually(lambda moment=moment: time.monotonic() > moment, every=0.001)  # type: ignore[misc]
        os.kill(victim, signal.SIGKILL)
        killed_at = time.monotonic()
        scene.runner_of(job_id, lease=2)
        again.append(time.monotonic() - killed_at)
        eventually(lambda victim=victim: is_whole_without(scene, victim))  # type: ignore[misc]
        whole.append(time.monotonic() - killed_at)
        jobs.append(job_id)
    return jobs, again, whole


def is_whole_without(scene: WatchedScene, victim: int) -> bool:
    """True when every place has a worker that can claim, none of them the one that was killed."""
    workers = scene.status["workers"]
    return all(each["pid"] and each["pid"] != victim and each["phase"] == "idle" for each in workers)


def rounds_of(watch: Watch, rounds: int, random: Random) -> tuple[Distribution, Distribution]:
    """The seconds that `kill_workers` tells, once it is sure that each job lost one attempt to its kill and nothing else."""
    scene = watch.scene().start()
    jobs, again, whole = kill_workers(scene, rounds, random)
    for job_id in jobs:
        assert scene.becomes(job_id, Status.COMPLETED).retry_count == 1
        assert attempts(scene, job_id) == [KILLED]
    assert scene.stop() == 0
    violations = watch.violations()
    assert not violations, violations
    return again, whole


def workers(asked: Asked) -> str:
    """W1: workers killed at random times, round after round."""
    with watch_of(asked.backend) as watch:
        again, whole = rounds_of(watch, asked.rounds, Random(asked.seed))
    return (
        f"{asked.backend}, seed {asked.seed}, {asked.rounds} kills, 0 violations\n"
        f"  until the job ran again: {again}\n  until as many workers as before could claim: {whole}"
    )
