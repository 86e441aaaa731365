"""Processing is stopped and begun again by an order in the run directory; the supervisor stays itself."""

from __future__ import annotations

import signal

from backends import Status
from config import Processing, is_resting, order_processing, processing_ordered
from supervisor import restart_request
from tests.support import eventually

from .conftest import Stage
from .scene import Scene, is_gone


def order(scene: Scene, word: Processing) -> None:
    order_processing(scene.folder / "run", word)


def test_a_resting_supervisor_lets_jobs_finish_and_takes_none_until_it_is_to_go_on(stage: Stage) -> None:
    scene = stage(workers=1).start()
    [in_hand] = scene.enqueue("until_file")
    worker = scene.runner_of(in_hand)
    maintenance = scene.maintenance_pid
    order(scene, Processing.STOP)
    eventually(lambda: scene.status["state"] == "resting")
    assert not is_resting(scene.folder / "run")
    scene.until.touch()
    eventually(lambda: is_resting(scene.folder / "run"))
    assert is_gone(worker)
    assert scene.status["workers"][0]["phase"] == "resting"
    assert (scene.job(in_hand).status, scene.job(in_hand).retry_count) == (Status.COMPLETED, 0)
    [waiting] = scene.enqueue("quick")
    [known] = eventually(lambda: [each for each in scene.queue.supervisors() if each.status.get("state") == "resting"])
    assert known.pid == scene.status["pid"]
    assert scene.job(waiting).status == Status.PENDING
    order(scene, Processing.GO)
    scene.becomes(waiting, Status.COMPLETED)
    assert scene.maintenance_pid == maintenance
    assert scene.stop() == 0


def test_the_last_of_many_orders_holds(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1).start()
    for last in (Processing.STOP, Processing.GO):
        for word in [Processing.GO, Processing.STOP] * 10 + [last]:
            order(scene, word)
        expected = "resting" if last is Processing.STOP else "running"
        eventually(lambda expected=expected: scene.status["state"] == expected)  # type: ignore[misc]
    [job_id] = scene.enqueue("quick")
    scene.becomes(job_id, Status.COMPLETED)


def test_a_supervisor_that_starts_again_keeps_the_order_and_a_new_one_begins_with_processing(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1).start()
    assert scene.process is not None
    first = scene.status["id"]
    order(scene, Processing.STOP)
    eventually(lambda: is_resting(scene.folder / "run"))
    with restart_request(scene.folder / "run", scene.process.pid):
        scene.send(signal.SIGTERM)
        eventually(lambda: scene.status["id"] != first, within=20)
    eventually(lambda: scene.status["state"] == "resting")
    assert scene.stop() == 0
    assert processing_ordered(scene.folder / "run") is Processing.STOP
    scene.start()
    assert processing_ordered(scene.folder / "run") is Processing.GO


def test_signals_mean_to_a_resting_supervisor_what_they_mean_to_any(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1).start()
    order(scene, Processing.STOP)
    eventually(lambda: is_resting(scene.folder / "run"))
    scene.send(signal.SIGUSR2)
    scene.send(signal.SIGHUP)
    scene.seen("reload.done")
    assert scene.status["state"] == "resting"
    order(scene, Processing.GO)
    [job_id] = scene.enqueue("quick")
    scene.becomes(job_id, Status.COMPLETED)
    order(scene, Processing.STOP)
    eventually(lambda: is_resting(scene.folder / "run"))
    assert scene.stop() == 0
    assert scene.status["state"] == "stopped"
