"""Maintenance beside faults of its own chores, of other supervisors, and of whoever it speaks to."""

from __future__ import annotations

from sqlalchemy import text

from backends import Status
from tests.support import eventually

from .conftest import Stage
from .scene import Scene


def test_a_chore_that_fails_is_told_once_and_keeps_neither_maintenance_nor_the_other_chores_from_going_on(stage: Stage) -> None:
    scene = stage(workers=1).start()
    maintenance = scene.maintenance_pid
    _rename(scene, "jobqueue_supervisors", "taken_away")
    told = scene.seen("maintenance.chore_failed", chore="report")
    assert "jobqueue_supervisors" in told["reason"]
    assert "Traceback" in told["exception"]
    victim = scene.worker_pids[0]
    [job_id] = scene.enqueue("leaves_children", children=str(scene.folder / "children"))
    assert scene.becomes(job_id, Status.FAILED, within=20).retry_count == 3
    assert scene.worker_pids != [victim]
    _rename(scene, "taken_away", "jobqueue_supervisors")
    before = scene.queue.supervisors()[0].seen_at
    eventually(lambda: scene.queue.supervisors()[0].seen_at > before)
    assert scene.maintenance_pid == maintenance
    assert len(scene.events("maintenance.chore_failed")) == 1
    assert scene.stop() == 0


def _rename(scene: Scene, table: str, name: str) -> None:
    with scene.queue.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))
