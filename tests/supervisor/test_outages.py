"""The database goes away while workers run, and one of them is killed meanwhile: nobody gives up and nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from backends import Status, open_engine, upgrade
from tests.postgres import PrivatePostgres
from tests.support import comes_true, eventually, passes

from .conftest import Stage
from .scene import Scene, attempts, state_of

Outage = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def database(backend: str, tmp_path: Path) -> Iterator[tuple[str, Outage]]:
    """A database that can be taken away: a server that is stopped, or a file whose only write lock is held."""
    if backend == "sqlite":
        url = f"sqlite:///{tmp_path}/queue.db"
        yield url, lambda: _locked(url)
        return
    server = PrivatePostgres().start()
    yield server.url(), lambda: _stopped(server)
    server.remove()


@contextmanager
def _locked(url: str) -> Iterator[None]:
    engine = open_engine(url)
    with engine.begin():
        yield
    engine.dispose()


@contextmanager
def _stopped(server: PrivatePostgres) -> Iterator[None]:
    server.stop()
    yield
    server.start()


def two_jobs_in_hand(scene: Scene) -> tuple[int, int]:
    """One job that will be left alone and one whose worker will be killed, each on a worker of its own."""
    [left_alone] = scene.enqueue("until_file", until=str(scene.folder / "until left alone"))
    scene.runner_of(left_alone)
    [victim] = scene.enqueue("first_time_until_file")
    scene.runner_of(victim)
    return left_alone, victim


def test_a_short_outage_interrupts_no_handler_and_a_death_in_it_is_settled_after_it(
    stage: Stage, database: tuple[str, Outage]
) -> None:
    url, outage = database
    upgrade(open_engine(url))
    lock_timeout = 3 if url.startswith("sqlite") else 9  # a server takes its time to stop and to start
    scene = stage(url=url, lock_timeout=lock_timeout).start()
    left_alone, victim = two_jobs_in_hand(scene)
    with outage():
        passes(0.3)
        os.kill(scene.runner_of(victim), signal.SIGKILL)
        passes(0.9)
    scene.queue.engine.dispose()
    scene.runner_of(victim, lease=2, within=6)
    (scene.folder / "until left alone").touch()
    survivor, again = scene.becomes(left_alone, Status.COMPLETED), scene.becomes(victim, Status.COMPLETED)
    assert (survivor.retry_count, survivor.interruptions) == (0, 0)
    assert (again.retry_count, again.interruptions) == (1, 0)
    assert scene.seen("database.back")["away"] < lock_timeout
    assert scene.stop() == 0


def test_a_long_outage_interrupts_handlers_unspent_and_everything_goes_on_after_it(
    stage: Stage, database: tuple[str, Outage]
) -> None:
    url, outage = database
    upgrade(open_engine(url))
    scene = stage(url=url).start()
    left_alone, victim = two_jobs_in_hand(scene)
    with outage():
        passes(0.3)
        os.kill(scene.runner_of(victim), signal.SIGKILL)
        scene.seen("worker.overdue", cause="lease", job_id=left_alone)
        passes(3.5)
        assert scene.status["state"] == "running"
    scene.queue.engine.dispose()
    (scene.folder / "until left alone").touch()
    survivor = scene.becomes(left_alone, Status.COMPLETED, within=6)
    again = scene.becomes(victim, Status.COMPLETED, within=6)
    assert (survivor.retry_count, survivor.interruptions) == (0, 1)
    assert (again.retry_count, again.interruptions) == (1, 0)
    assert attempts(scene, left_alone) == [("interrupted", "its lease could not be renewed for 2.7 s")]
    assert scene.stop() == 0


def test_a_drain_during_an_outage_ends_all_the_same(stage: Stage, database: tuple[str, Outage]) -> None:
    url, outage = database
    upgrade(open_engine(url))
    scene = stage(url=url, workers=1, shutdown_timeout=0.5).start()
    [job_id] = scene.enqueue("until_file")
    scene.runner_of(job_id)
    with outage():
        assert scene.stop(within=20) == 0
    assert scene.seen("supervisor.deaths_not_told")["deaths"] == 1
    next_one = stage("two", url=url, workers=1).start()
    scene.until.touch()
    assert next_one.becomes(job_id, Status.COMPLETED).retry_count == 0


def test_a_worker_whose_lease_ran_out_is_ended_by_maintenance_when_the_supervisor_is_frozen(
    stage: Stage, database: tuple[str, Outage]
) -> None:
    url, outage = database
    upgrade(open_engine(url))
    scene = stage(url=url, workers=1).start()
    [job_id] = scene.enqueue("first_time_until_file")
    worker = scene.runner_of(job_id)
    with outage():
        scene.send(signal.SIGSTOP)
        assert comes_true(lambda: state_of(worker) == "gone", within=3.5), "a worker whose lease ran out lives on"
    scene.send(signal.SIGCONT)
    scene.queue.engine.dispose()
    job = scene.becomes(job_id, Status.COMPLETED)
    assert scene.events("worker.fenced")
    assert (job.retry_count, job.interruptions) == (0, 1), "its job is charged for it"


def test_a_worker_that_cannot_renew_is_gone_before_another_may_start(stage: Stage, database: tuple[str, Outage]) -> None:
    url, outage = database
    upgrade(open_engine(url))
    scene = stage(url=url, workers=1).start()
    [job_id] = scene.enqueue("until_file")
    worker = scene.runner_of(job_id)
    with outage():
        assert comes_true(lambda: state_of(worker) == "gone", within=6), "a worker whose lease ran out lives on"
    scene.queue.engine.dispose()
    scene.until.touch()
    scene.becomes(job_id, Status.COMPLETED)


def test_a_maintenance_whose_database_calls_hang_is_replaced_before_a_lease_lapses(tmp_path: Path) -> None:
    server = PrivatePostgres().start()
    scene = Scene(tmp_path, server.url(), workers=1)
    frozen: list[int] = []
    try:
        scene.start()
        [job_id] = scene.enqueue("until_file")
        scene.runner_of(job_id)
        former = scene.maintenance_pid
        frozen = _backends_of(server, "jobqueue maintenance")
        assert frozen
        for backend_pid in frozen:
            os.kill(backend_pid, signal.SIGSTOP)
        eventually(lambda: scene.maintenance_pid not in (0, former) and state_of(former) == "gone")
        passes(3.5)
        scene.until.touch()
        job = scene.becomes(job_id, Status.COMPLETED)
        assert (job.retry_count, job.interruptions) == (0, 0)
        assert len(scene.starts()) == 1
        assert "gave no sign of life" in scene.events("maintenance.lost")[0]["reason"]
    finally:
        for backend_pid in frozen:
            os.kill(backend_pid, signal.SIGCONT)
        scene.close()
        server.remove()


def _backends_of(server: PrivatePostgres, name: str) -> list[int]:
    """The server's own processes that serve connections of this application name."""
    engine = open_engine(server.url())
    with engine.connect() as connection:
        found = connection.execute(text("SELECT pid FROM pg_stat_activity WHERE application_name = :name"), {"name": name})
        pids = [int(pid) for pid in found.scalars()]
    engine.dispose()
    return pids
