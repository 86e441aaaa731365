"""Rows C of the fault matrix: clocks that are wrong or step, and hosts that are suspended."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from backends import Status, open_engine, upgrade
from tests.postgres import PrivatePostgres
from tests.supervisor.scene import attempts, freeze, is_gone, signal_all
from tests.support import comes_true, eventually, passes
from workers import boot_time

from .preloaded import Clock, with_environment
from .rounds import is_whole_without
from .watched import ON_ONE_DATABASE, TAKEN_BACK, Watch, WatchedScene

HOUR = 3600

PROMPT = 1.0
"""Seconds after which a due job has started: maintenance looks every `poll_interval` of 0.2 s, and workers are free."""

STOPPED = 1.0
"""Seconds of `lock_timeout` (a third of it) within which a handler is stopped whose lease the server's clock ended."""


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock that the test steps."""
    clock = Clock()
    yield clock
    clock.remove()


def started(scene: WatchedScene, clock: Clock) -> WatchedScene:
    """Start it under that clock."""
    scene.launch(*with_environment(clock.environment))
    eventually(lambda: scene.status.get("state") == "running", within=20)
    return scene


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_c1_workers_whose_clocks_are_an_hour_off_start_and_lose_nothing_early_or_late(watch: Watch, clock: Clock) -> None:
    """Only where the server's clock is another than theirs: on SQLite there is one clock, that of the host."""
    scene = started(watch.scene(), clock)
    for pid, hours in zip(scene.worker_pids, (1, -1), strict=True):
        clock.step(hours * HOUR, pid)
    held = scene.enqueue("lives_until_file", 2)
    for job_id in held:
        scene.runner_of(job_id)
    passes(3.5)
    scene.until.touch()
    for job_id in held:
        assert scene.becomes(job_id, Status.COMPLETED).interruptions == 0
    shown = {round((datetime.fromisoformat(each["ts"]) - datetime.now(UTC)) / timedelta(hours=1))
             for each in scene.events("job.claimed")}
    assert shown == {1, -1}
    enqueued_at = boot_time()
    later = scene.enqueue("snoozes_once", 4, after=0.7)
    due = scene.enqueue("quick", 4, scheduled_at=datetime.now(UTC) + timedelta(seconds=0.7))
    for job_id in (*later, *due):
        scene.becomes(job_id, Status.COMPLETED)
    late = [event.at - enqueued_at - 0.7 for event in watch.evidence().history if event.what == "started"
            if event.job in due or (event.job in later and event.lease == 2)]
    assert len(late) == 8
    assert 0 <= min(late) <= max(late) < PROMPT
    _lose_its_host(watch, scene)
    assert watch.violations() == []


def _lose_its_host(watch: Watch, scene: WatchedScene) -> None:
    """All of a host is killed while it runs a job; another takes the job back when its lease is over, neither early nor late."""
    [job_id] = scene.enqueue("lives_until_file_once", until=str(scene.folder / "never"))
    scene.runner_of(job_id)
    heir = watch.scene("second").start()
    signal_all(freeze(scene), signal.SIGKILL)
    scene.exit_code()
    renewed_at = heir.job(job_id).locked_at
    assert renewed_at is not None
    scene.runner_of(job_id, lease=2, within=15)
    assert 3 <= watch.given_back_at(job_id) - renewed_at.timestamp() < TAKEN_BACK
    heir.becomes(job_id, Status.COMPLETED)
    assert heir.stop() == 0


@pytest.fixture
def stepped(backend: str, tmp_path: Path, sqlite_template: Path, clock: Clock) -> Iterator[Watch]:
    """A watched database whose clock the test steps: the server's own, or that of everybody who uses the file."""
    if backend == "sqlite":
        shutil.copy(sqlite_template, tmp_path / "queue.db")
        with _watched(tmp_path, f"sqlite:///{tmp_path}/queue.db") as watch:
            yield watch
        return
    server = PrivatePostgres().start(**clock.environment)
    engine = open_engine(server.url())
    upgrade(engine)
    engine.dispose()
    with _watched(tmp_path, server.url()) as watch:
        yield watch
    server.remove()


@contextmanager
def _watched(folder: Path, url: str) -> Iterator[Watch]:
    watch = Watch(folder, url)
    yield watch
    watch.close()


def test_c2_the_databases_clock_steps_and_nothing_is_lost_or_stalls(stepped: Watch, clock: Clock, backend: str) -> None:
    """On SQLite nothing runs twice: leases are kept by the host's boot clock. On Postgres each step forward may end a lease."""
    scene = started(stepped.scene(workers=3), clock)
    held = scene.enqueue("lives_until_file", 2)
    for job_id in held:
        scene.runner_of(job_id)
    forward = 0
    for former, minutes in pairwise((0, 10, -10, 0)):
        forward += minutes > former
        clock.step(60 * minutes)
        stepped_at = time.monotonic()
        jobs = [*scene.enqueue("quick"), *scene.enqueue("snoozes_once", after=0.2)]
        passes(2 * scene.settings["heartbeat_interval"])
        for job_id in jobs:
            scene.becomes(job_id, Status.COMPLETED)
        assert time.monotonic() - stepped_at < TAKEN_BACK
        assert _minutes_ahead(scene, jobs[0]) == minutes
    scene.until.touch()
    for job_id in held:
        job = scene.becomes(job_id, Status.COMPLETED)
        assert job.retry_count == 0
        assert job.interruptions <= (0 if backend == "sqlite" else forward)
    assert scene.stop() == 0
    if backend == "sqlite":
        assert stepped.violations() == []
    else:
        _expect_fenced_duplicates_alone(stepped, held)


def _expect_fenced_duplicates_alone(watch: Watch, held: list[int]) -> None:
    """What a step forward ended is taken back before its worker can know: it is fenced, and stopped in the moment after."""
    assert [each for each in watch.violations() if each.promise != "G8"] == []
    runs: dict[tuple[int, int], list[float]] = {}
    for event in watch.evidence().history:
        if event.op == "run":
            runs.setdefault((event.job, event.lease), []).append(event.at)
    for (job_id, lease), signs in runs.items():
        if after := runs.get((job_id, lease + 1)):
            assert max(signs) - min(after) < (STOPPED if job_id in held else 0)


def _minutes_ahead(scene: WatchedScene, job_id: int) -> int:
    """How far the database's clock was ahead when it wrote the end of that job."""
    completed_at = scene.job(job_id).completed_at
    assert completed_at is not None
    return round((completed_at - datetime.now(UTC)) / timedelta(minutes=1))


@ON_ONE_DATABASE
def test_c3_a_host_suspended_for_twice_the_lock_timeout_goes_on_with_the_same_workers(watch: Watch) -> None:
    """On one database: what a server sees of suspended clients, silence, it sees in S1 too, and its own suspension is D3.

    Nobody took the job meanwhile. Who of the resumed comes first, maintenance with a renewal or the supervisor that fences,
    decides whether its attempt goes on or is interrupted and the job runs again.
    """
    scene = watch.scene(poll_interval=5).start()  # so that the idle one is not in the midst of a claim
    [job_id] = scene.enqueue("lives_until_file_once")
    busy = scene.runner_of(job_id)
    [idle] = set(scene.worker_pids) - {busy}
    eventually(lambda: "idle" in [each["phase"] for each in scene.status["workers"] if each["pid"] == idle])
    passes(0.5)
    frozen = freeze(scene)
    passes(2 * 3)
    signal_all(frozen, signal.SIGCONT)
    thawed_at = datetime.now(UTC)
    ran_again = comes_true(lambda: [job_id] == [job for _, lease, job in scene.starts() if lease == 2], within=TAKEN_BACK)
    if not ran_again:
        renewed_at = scene.job(job_id).locked_at
        assert renewed_at is not None
        assert renewed_at > thawed_at
        assert not is_gone(busy)
        scene.until.touch()
    assert is_gone(busy) == ran_again
    job = scene.becomes(job_id, Status.COMPLETED)
    assert (job.retry_count, job.interruptions) == (0, int(ran_again))
    assert [outcome for outcome, _ in attempts(scene, job_id)] == ["interrupted"] * ran_again
    eventually(lambda: is_whole_without(scene, busy if ran_again else 0))
    assert idle in scene.worker_pids
    assert [each["pid"] for each in scene.events("worker.lost")] == [busy] * ran_again
    assert scene.stop() == 0
    assert watch.violations() == []
