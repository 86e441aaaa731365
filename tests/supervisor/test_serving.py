"""The HTTP API as a child of the supervisor: it comes back, it leaves last but one, and it keeps nobody from working."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from random import Random
from typing import Any

from backends import Status
from config import load, running_pid
from supervisor.children import Nursery
from supervisor.serving import Serving
from tests.support import eventually
from workers import boot_time

from .conftest import Stage
from .scene import Scene, is_gone

Json = dict[str, Any]
FREE = {"enabled": True, "port": 0, "auth": "none"}


def answer(scene: Scene, path: str) -> int:
    """The status of the answer; 0 when there is none."""
    try:
        with urllib.request.urlopen(scene.status["api"]["url"] + path, timeout=5) as answered:
            return int(answered.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def ask(scene: Scene, path: str, method: str = "GET") -> Json:
    """The document that is the answer."""
    request = urllib.request.Request(scene.status["api"]["url"] + path, method=method)
    with urllib.request.urlopen(request, timeout=10) as answered:
        document: Json = json.loads(answered.read())
        return document


def serving(scene: Scene, instead_of: int = 0) -> int:
    """Wait until the API answers; returns its pid."""

    def answers() -> int:
        api = scene.status["api"]
        return int(api["pid"]) if api["state"] == "running" and api["pid"] != instead_of else 0

    return eventually(answers, within=40)


def test_the_api_answers_and_a_dead_one_is_replaced_at_the_same_address(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1, api=FREE).start()
    first, url = serving(scene), scene.status["api"]["url"]
    assert answer(scene, "/livez") == 200
    os.kill(first, signal.SIGKILL)
    scene.seen("api.lost", reason="ended with signal 9 (SIGKILL)")
    serving(scene, instead_of=first)
    assert scene.status["api"]["url"] == url
    assert answer(scene, "/livez") == 200
    assert scene.stop() == 0
    assert scene.status["api"]["state"] == "stopped"


def test_the_api_says_that_it_drains_while_a_job_ends_and_leaves_with_its_supervisor(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1, api=FREE, shutdown_timeout=30).start()
    pid = serving(scene)
    [job_id] = scene.enqueue("until_file")
    scene.runner_of(job_id)
    eventually(lambda: answer(scene, "/readyz") == 200)
    scene.send(signal.SIGTERM)
    eventually(lambda: answer(scene, "/readyz") == 503)
    scene.until.touch()
    assert scene.exit_code() == 0
    assert is_gone(pid)
    assert scene.job(job_id).status == Status.COMPLETED


def test_a_taken_port_is_told_with_a_remedy_and_taken_as_soon_as_it_is_free(quiet_stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        scene = quiet_stage(workers=1, api=FREE | {"port": port}).start()
        said = scene.seen("api.not_listening", address=f"127.0.0.1:{port}")
        assert "--api-port" in said["remedy"]
        assert scene.status["api"] == {"pid": None, "url": None, "state": "not listening"}
        [job_id] = scene.enqueue("quick")
        scene.becomes(job_id, Status.COMPLETED)
    serving(scene)
    assert answer(scene, "/livez") == 200
    assert len(scene.events("api.not_listening")) == 1


def test_a_host_that_nobody_knows_is_told_and_keeps_nobody_from_working(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1, api=FREE | {"host": "no.such.host.invalid"}).start()
    assert "not known" in scene.seen("api.not_listening")["reason"]
    assert scene.stop() == 0


FORGETFUL = """
import pathlib, socket
known, ask = pathlib.Path(__file__).with_name("known"), socket.getaddrinfo

def answer(host, *rest, **more):
    if host == "api.example" and not known.exists():
        raise socket.gaierror(-2, "Name or service not known")
    return ask("127.0.0.1" if host == "api.example" else host, *rest, **more)

socket.getaddrinfo = answer

def run(ctx):
    pass
"""


def test_a_host_that_becomes_known_later_is_listened_on(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1, api=FREE | {"host": "api.example"})
    (scene.folder / "forgetful_name_server.py").write_text(FORGETFUL)
    scene.settings["job_types"]["forgetful"] = "forgetful_name_server:run"
    scene.start()
    assert "not known" in scene.seen("api.not_listening", address="api.example:0")["reason"]
    (scene.folder / "known").touch()
    serving(scene)
    assert answer(scene, "/livez") == 200
    assert len(scene.events("api.not_listening")) == 1
    assert scene.stop() == 0


def _stop_an_api_that_was_ready(folder: Path) -> None:
    loaded = load(folder / "jobqueue.yaml", overrides={"api.port": 0})
    serving, nothing = Serving(Nursery(), loaded, folder, Random(1)), -1000.0
    began = boot_time()

    def proceed(later: float) -> bool:
        """So many seconds from the beginning; whether it is up and running."""
        serving.keep_alive(began + later)
        serving.watch(began + later, nothing)
        serving.look(began + later)
        return (serving.as_dict() or {})["state"] == "running"

    assert eventually(lambda: proceed(0.0), within=40)
    first = serving.children[0]
    for later in (5.0, 10.0, 15.0):
        assert proceed(later)
        eventually(lambda later=later: proceed(later) and len(serving.descriptors) == 1)  # it answered
    first.send(signal.SIGSTOP)
    assert proceed(18.0)
    assert proceed(24.0)
    serving.watch(began + 1000, began + 995)  # the supervisor itself slept meanwhile
    assert proceed(24.0)
    eventually(lambda: not proceed(25.5))
    assert eventually(lambda: proceed(26.0), within=40)
    assert serving.children[0].pid != first.pid
    serving.let_leave(began + 30)
    eventually(lambda: proceed(30.0) or serving.is_gone)


def test_an_api_that_was_ready_and_does_not_answer_any_more_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "jobqueue.yaml").write_text("extensions: []\napi: {enabled: true, port: 1, auth: none}\n")
    alone = multiprocessing.get_context("fork").Process(target=_stop_an_api_that_was_ready, args=(tmp_path,))
    alone.start()
    alone.join(100)
    assert alone.exitcode == 0


def test_a_killed_supervisor_takes_its_api_along_and_nothing_is_served_that_was_not_asked_for(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1, api=FREE).start()
    pid = serving(scene)
    scene.stop(signal.SIGKILL)
    eventually(lambda: is_gone(pid))
    assert running_pid(scene.folder / "run") is None
    other = quiet_stage("other", workers=1).start()
    assert other.status["api"] is None


def test_the_api_shows_and_steers_the_supervisor_that_serves_it(quiet_stage: Stage) -> None:
    scene = quiet_stage(workers=1, api=FREE).start()
    api = serving(scene)
    own = {"process_id": f"processor_{scene.status['id']}", "running": True, "thread_alive": True}
    assert ask(scene, "/job-queue/status")["processor"] == own | {"shutdown_requested": False}
    for _ in range(2):
        ask(scene, "/job-queue/stop-processor", "POST")
    eventually(lambda: scene.status["state"] == "resting" and not scene.worker_pids)
    assert ask(scene, "/job-queue/status")["processor"] == own | {"running": False, "shutdown_requested": True}
    [job_id] = scene.enqueue("quick")
    ask(scene, "/job-queue/start-processor", "POST")
    scene.becomes(job_id, Status.COMPLETED)
    assert ask(scene, "/job-queue/status")["is_processor_running"]
    assert scene.status["api"]["pid"] == api
