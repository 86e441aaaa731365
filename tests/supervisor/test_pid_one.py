"""A supervisor that is process 1 of its namespace, as in a container."""

from __future__ import annotations

import signal

import psutil

from backends import Status
from tests.permitted import own_pids
from tests.support import eventually

from .conftest import Stage


def test_as_process_1_it_reaps_strangers_and_obeys_signals(quiet_stage: Stage) -> None:
    prefix, scene = own_pids(), quiet_stage(workers=1)
    scene.launch(*prefix)
    eventually(lambda: scene.status.get("state") == "running", within=20)
    assert scene.status["pid"] == 1
    note = scene.folder / "orphan"
    [job_id] = scene.enqueue("leaves_an_orphan", children=str(note))
    scene.becomes(job_id, Status.COMPLETED)
    namespace = scene.tree()
    supervisor = next(each for each in namespace if each.name().startswith("jobqueue: super"))
    eventually(lambda: not any(each.status() == psutil.STATUS_ZOMBIE for each in supervisor.children()))
    assert note.exists()
    supervisor.send_signal(signal.SIGTERM)
    assert scene.exit_code() == 0
