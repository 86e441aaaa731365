"""Maintenance beside faults of its own chores, of other supervisors, and of whoever it speaks to."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from sqlalchemy import text

from backends import Queue, Status, SupervisorReport, open_engine, upgrade
from config import Settings
from supervisor import plan
from supervisor.channel import Channel
from supervisor.maintenance import Maintenance
from tests.postgres import PrivatePostgres
from tests.support import eventually
from workers import Board, Claim, ClaimState

from .conftest import Stage
from .scene import Scene, is_gone


def test_a_chore_that_fails_is_told_once_and_keeps_neither_maintenance_nor_the_other_chores_from_going_on(stage: Stage) -> None:
    scene = stage(workers=1).start()
    maintenance = scene.maintenance_pid
    [reported] = eventually(scene.queue.supervisors)
    assert reported.lock_timeout == scene.settings["lock_timeout"]
    _rename_column(scene, "pid", "taken_away")
    told = scene.seen("maintenance.chore_failed", chore="report")
    assert "jobqueue_supervisors" in told["reason"]
    assert "Traceback" in told["exception"]
    victim = scene.worker_pids[0]
    [job_id] = scene.enqueue("leaves_children", children=str(scene.folder / "children"))
    assert scene.becomes(job_id, Status.FAILED, within=20).retry_count == 3
    eventually(lambda: scene.worker_pids not in ([], [victim]))
    _rename_column(scene, "taken_away", "pid")
    eventually(lambda: scene.queue.supervisors()[0].seen_at > reported.seen_at)
    assert scene.maintenance_pid == maintenance
    assert len(scene.events("maintenance.chore_failed")) == 1
    assert scene.stop() == 0


def test_a_supervisor_whose_lanes_others_changed_meanwhile_says_so_and_keeps_its_leases(stage: Stage) -> None:
    scene = stage(workers=1).start()
    [job_id] = scene.enqueue("until_file")
    scene.runner_of(job_id)
    other = SupervisorReport("other", "elsewhere", 1, datetime.now(UTC), {"quick": "program:{program_id}"})
    scene.queue.report(other)
    former = scene.maintenance_pid
    os.kill(former, signal.SIGKILL)
    told = scene.seen("maintenance.lanes_disagree")
    assert "job type quick" in told["problem"]
    eventually(lambda: scene.maintenance_pid not in (0, former))
    maintenance = scene.maintenance_pid
    over = time.monotonic() + scene.settings["lock_timeout"] + 1
    eventually(lambda: scene.queue.report(other) or time.monotonic() > over)
    assert scene.maintenance_pid == maintenance
    scene.until.touch()
    job = scene.becomes(job_id, Status.COMPLETED)
    assert (job.retry_count, job.interruptions) == (0, 0)
    assert len(scene.events("maintenance.lanes_disagree")) == 1
    assert scene.stop() == 0


def test_a_supervisor_that_dies_while_a_death_is_settled_leaves_no_job_of_its_other_workers_locked(tmp_path: Path) -> None:
    server = PrivatePostgres().start()
    upgrade(open_engine(server.url()))
    scene = Scene(tmp_path, server.url(), workers=3, lock_timeout=12, heartbeat_interval=1, poll_interval=5)
    try:
        scene.start()
        [of_the_dead], [of_another] = scene.enqueue("first_time_until_file"), scene.enqueue("until_file")
        victim, other = scene.runner_of(of_the_dead), scene.runner_of(of_another)
        with scene.queue.engine.begin() as connection:
            connection.execute(text("SELECT id FROM indexing_jobs WHERE id = :id FOR UPDATE"), {"id": of_the_dead})
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: connection.execute(WAITS_FOR_A_LOCK).scalar())
            eventually(lambda: victim not in (living := ready_workers(scene)) and len(living) == 3)
            scene.send(signal.SIGKILL)
            scene.exit_code()
            eventually(lambda: is_gone(other))
        assert scene.becomes(of_another, Status.PENDING, within=5).interruptions == 1
        scene.seen("supervisor.vanished", workers=3)
    finally:
        scene.close()
        server.remove()


def ready_workers(scene: Scene) -> list[int]:
    """The pids of the workers that have taken their place."""
    return [each["pid"] for each in scene.status["workers"] if each["phase"] != "starting"]


class CountedReleases(Queue):
    """A queue that counts how often it is asked to give back what is held under claim tags."""

    releases = 0

    def release(self, tags: Sequence[str], reason: str, interrupted: bool) -> int:
        self.releases += 1
        return super().release(tags, reason, interrupted)


def test_a_claim_that_a_worker_dropped_is_given_back_for_a_while_and_not_for_ever(database_url: str) -> None:
    settings = Settings(
        database_url=database_url, job_types={}, heartbeat_interval=0.05, lock_timeout=0.5, poll_interval=0.05
    )
    queue, board, (ours, theirs) = CountedReleases(open_engine(database_url)), Board(1), Channel.pair()
    board.slots[0].book([Claim(b"0" * 16, ClaimState.DROPPED, 0.0)])
    identity = plan.Identity("id", "host", os.getpid(), datetime.now(UTC))
    maintenance = Maintenance(settings, identity, board, ["one-1"], [], theirs, queue, Random(1))
    thread = threading.Thread(target=maintenance.run)
    thread.start()
    try:
        eventually(lambda: queue.releases > 3)
        heard = board.pulse("main").at
        eventually(lambda: board.pulse("main").at > heard + 2 * settings.lock_timeout)
        asked = queue.releases
        eventually(lambda: board.pulse("main").at > heard + 4 * settings.lock_timeout)
        assert queue.releases == asked
    finally:
        ours.send({"order": "make room"})
        thread.join()
        queue.engine.dispose()
        ours.close()
        theirs.close()


WAITS_FOR_A_LOCK = text(
    "SELECT true FROM pg_stat_activity WHERE application_name = 'jobqueue maintenance' AND wait_event_type = 'Lock'"
)


def _rename_column(scene: Scene, column: str, name: str) -> None:
    """Of the supervisors: none of them can report then."""
    with scene.queue.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE jobqueue_supervisors RENAME COLUMN {column} TO {name}"))
