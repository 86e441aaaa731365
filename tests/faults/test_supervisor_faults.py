"""Rows S of the fault matrix: supervisors killed, stopped, doubled, stormed with signals, and refused processes."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from typing import Any

import psutil

from backends import JobTypeFacts, Queue, Status, open_engine
from supervisor import running_pid
from tests.backends.scene import in_processes
from tests.permitted import cannot_be_done, needs, own_pids
from tests.supervisor.scene import attempts, is_gone, moment_of
from tests.support import REPOSITORY, eventually, passes

from .pid_namespace import LAST_PID
from .preloaded import NoFork, with_environment
from .rounds import KILLED, is_whole_without
from .watched import ON_ONE_DATABASE, TAKEN_BACK, WHOLE, Watch, WatchedScene

FORKS = "clone,clone3,fork,vfork"
"""The system calls that make a process."""


def test_s1_a_killed_supervisor_leaves_no_orphan_and_its_jobs_run_elsewhere(watch: Watch) -> None:
    first = watch.scene("first").start()
    [job_id] = first.enqueue("lives_until_file_once")
    first.runner_of(job_id)
    second = watch.scene("second").start()
    tree, workers = [each.pid for each in first.tree()], first.worker_pids
    killed_at = time.monotonic()
    first.send(signal.SIGKILL)
    eventually(lambda: is_gone(*workers), within=2)
    first.runner_of(job_id, lease=2, within=15)
    assert time.monotonic() - killed_at < TAKEN_BACK
    job = first.becomes(job_id, Status.COMPLETED)
    assert (job.retry_count, job.interruptions) == (0, 1)
    first.exit_code()
    eventually(lambda: is_gone(*tree))
    assert second.stop() == 0
    assert watch.violations() == []


@ON_ONE_DATABASE
def test_s2_a_supervisor_stopped_for_longer_than_the_lock_timeout_harms_nobody_when_it_wakes(watch: Watch) -> None:
    """On one database: the supervisor speaks to none, and maintenance renews as if it were awake."""
    scene = watch.scene().start()
    [job_id] = scene.enqueue("lives_until_file")
    worker, workers, maintenance = scene.runner_of(job_id), scene.worker_pids, scene.maintenance_pid
    scene.send(signal.SIGSTOP)
    passes(1.3 * 3)
    for each in scene.enqueue("quick", 3):
        scene.becomes(each, Status.COMPLETED)
    scene.send(signal.SIGCONT)
    scene.seen("supervisor.woke")
    [after] = scene.enqueue("quick")
    scene.becomes(after, Status.COMPLETED)
    scene.until.touch()
    job = scene.becomes(job_id, Status.COMPLETED)
    assert (job.retry_count, job.interruptions, attempts(scene, job_id)) == (0, 0, [])
    assert worker in workers
    assert (scene.worker_pids, scene.maintenance_pid) == (workers, maintenance)
    assert not scene.events("worker.lost")
    assert scene.stop() == 0
    assert watch.violations() == []


def test_s3_supervisors_started_at_once_run_each_job_once(watch: Watch) -> None:
    scenes = [watch.scene(name) for name in ("first", "second")]
    jobs = [job_id for scene in scenes for job_id in scene.enqueue("quick", 20)]
    for scene in scenes:
        scene.launch()
    for job_id in jobs:
        scenes[0].becomes(job_id, Status.COMPLETED, within=30)
    assert sorted(job for scene in scenes for _, _, job in scene.starts()) == sorted(jobs)
    eventually(lambda: all(scene.status.get("state") == "running" for scene in scenes), within=20)
    assert [scene.stop() for scene in scenes] == [0, 0]
    assert watch.violations() == []


def test_s3_what_the_dead_held_is_taken_back_once_by_one_of_many_who_look_at_once(watch: Watch) -> None:
    """Four processes look at the same moment, as the maintenances of so many supervisors might, again and again."""
    scene = watch.scene()
    queue = scene.queue
    queue.register({"quick": JobTypeFacts(None)}, "test")
    jobs = scene.enqueue("quick", 40)
    for number in range(8):
        assert len(queue.claim(f"gone-{number}:1", ("quick",), 5)) == 5
    look = get_context("fork").Barrier(4)

    def reclaim(_: int) -> list[int]:
        own = Queue(open_engine(watch.url, connect_timeout=30))
        own.counts()
        look.wait(60)
        return [each.job_id for _ in range(5) for each in own.reclaim_expired(-1000.0)]

    watch.let_go()
    taken = in_processes(queue.engine, reclaim, range(4))
    assert sorted(job_id for each in taken for job_id in each) == jobs
    scene.start()
    for job_id in jobs:
        job = scene.becomes(job_id, Status.COMPLETED, within=20)
        assert (job.retry_count, job.interruptions, len(attempts(scene, job_id))) == (0, 1, 1)
    assert scene.stop() == 0
    assert watch.violations() == []


@ON_ONE_DATABASE
def test_s4_a_storm_of_signals_that_end_it_ends_it_once_and_hands_its_job_back(watch: Watch) -> None:
    """On one database: the supervisor, which speaks to none, is what is stormed."""
    scene = watch.scene().start()
    [job_id] = scene.enqueue("lives_until_file")
    scene.runner_of(job_id)
    tree = [each.pid for each in scene.tree()]
    for _ in range(50):
        for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            if scene.process is not None and scene.process.poll() is None:
                scene.send(number)
    assert scene.exit_code() == 0
    eventually(lambda: is_gone(*tree))
    assert scene.job(job_id).status == Status.PENDING
    assert "Traceback" not in scene.log.read_text()
    scene.start().until.touch()
    assert scene.becomes(job_id, Status.COMPLETED).retry_count == 0
    assert watch.violations() == []


@ON_ONE_DATABASE
def test_s4_a_signal_while_a_child_is_forked_is_neither_lost_nor_ends_it_uncleanly(watch: Watch) -> None:
    """The signal arrives in the system call itself, of the last forks of a start: maintenance and its worker.

    On one database: the supervisor, which speaks to none, is what forks.
    """
    needs("strace")
    scene = watch.scene(workers=1)
    forks = _forks_of_a_start(scene)
    for last in range(2):
        inject = f"inject={FORKS}:signal=SIGTERM:when={forks - last}"
        scene.launch("strace", "-qq", "-e", f"trace={FORKS}", "-e", "signal=none", "-o", os.devnull, "-e", inject)
        assert scene.exit_code(60) == 0
        children = {each["pid"] for name in ("maintenance.started", "worker.started") for each in scene.events(name)}
        assert len(children) >= 2 * (last + 1)
        assert is_gone(*children)
        draining, stopped = scene.events("supervisor.draining"), scene.events("supervisor.stopped")
        assert len(draining) == len(stopped) == last + 2
        assert moment_of(stopped[-1]) - moment_of(draining[-1]) < scene.settings["shutdown_timeout"]
    assert "Traceback" not in scene.log.read_text()
    scene.start()
    [job_id] = scene.enqueue("quick")
    scene.becomes(job_id, Status.COMPLETED)
    assert scene.stop() == 0
    assert watch.violations() == []


def _forks_of_a_start(scene: WatchedScene) -> int:
    """How many processes a start makes until all workers are up, by the system's own account."""
    trace = scene.folder / "trace"
    scene.launch("strace", "-qq", "-e", f"trace={FORKS}", "-e", "signal=none", "-o", str(trace))
    eventually(lambda: scene.status.get("state") == "running", within=20)
    tracer = scene.tree()[-1]
    [supervisor] = tracer.children()
    supervisor.send_signal(signal.SIGTERM)
    assert scene.exit_code() == 0
    (scene.folder / "run" / "status.json").unlink(missing_ok=True)
    return len(re.findall(r"^(?:clone|clone3|v?fork)\(", trace.read_text(), re.MULTILINE))


@ON_ONE_DATABASE
def test_s5_workers_that_crash_at_once_wait_longer_and_longer_cost_next_to_nothing_and_hold_up_nobody(watch: Watch) -> None:
    """On one database: no worker of theirs lives long enough to speak to any. The module raises to all but who probes it."""
    initial = 0.5
    others = watch.scene("others").start()
    scene = watch.scene(supervision={"restart_backoff": {"initial": initial, "max": 30}, "crash_limit": {"count": 100}})
    (scene.folder / "fatal.py").write_text(
        "import threading, time, setproctitle\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()  # unfit for preloading\n"
        "if 'worker' in setproctitle.getproctitle(): raise RuntimeError('no')\n"
        "def run(ctx):\n    pass\n"
    )
    scene.settings["job_types"]["fatal"] = "fatal:run"
    scene.launch()
    eventually(lambda: all(len(each) >= 4 for each in _pauses(scene).values()), within=30)
    for pauses in _pauses(scene).values():
        assert pauses[0] < initial, "the first one starts at once"
        for number, pause in enumerate(pauses[1:4]):
            assert initial * 2**number / 2 <= pause + 0.01, pauses
    before = _processor_time(scene)
    passes(3)
    assert (_processor_time(scene) - before) / 3 < 0.05
    assert all(each["phase"] in ("backing off", "starting", "empty") for each in scene.status["workers"])
    assert "exit code 70" in scene.status["last_death"]
    for job_id in others.enqueue("quick", 10):
        others.becomes(job_id, Status.COMPLETED)
    assert not others.events("worker.lost")
    assert [scene.stop(), others.stop()] == [0, 0]
    assert watch.violations() == []


def _pauses(scene: WatchedScene) -> dict[str, list[float]]:
    """Of each place: the seconds from each death of its worker until the next one was started."""
    found: dict[str, list[float]] = {name: [] for name in scene.settings["workers"]["process_ids"]}
    died_at: dict[str, float] = {}
    for event in scene.events():
        if event["event"] == "worker.lost":
            died_at[event["process_id"]] = moment_of(event)
        elif event["event"] == "worker.started" and event["process_id"] in died_at:
            found[event["process_id"]].append(moment_of(event) - died_at.pop(event["process_id"]))
    return found


def _processor_time(scene: WatchedScene) -> float:
    """Seconds of a processor that the supervisor and its dead children have taken."""
    assert scene.process is not None
    used = psutil.Process(scene.process.pid).cpu_times()
    return float(used.user + used.system + used.children_user + used.children_system)


class Namespace:
    """A supervisor in a process namespace whose process 1 obeys the test."""

    def __init__(self, scene: WatchedScene) -> None:
        scene.write_config()
        with scene.log.open("ab") as log:
            self._one = scene.process = subprocess.Popen(
                [*own_pids(), sys.executable, "-m", "tests.faults.pid_namespace", str(scene.config)], cwd=REPOSITORY,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            )
        self._answer()
        eventually(lambda: scene.status.get("state") == "running", within=20)

    def ask(self, *request: str | int) -> Any:
        """Have process 1 do something, and return its answer."""
        assert self._one.stdin is not None
        self._one.stdin.write(json.dumps(request).encode() + b"\n")
        self._one.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._one.stdout is not None
        return json.loads(self._one.stdout.readline())


@ON_ONE_DATABASE
def test_s7_a_stranger_that_gets_the_number_of_a_dead_process_is_never_signalled(watch: Watch) -> None:
    """On one database: who is signalled is the supervisor's affair and maintenance's, by their processes' numbers."""
    if not os.access(LAST_PID, os.W_OK):
        cannot_be_done("this user may not choose process numbers")
    scene = watch.scene(workers=2)
    namespace = Namespace(scene)
    [job_id] = scene.enqueue("lives_until_file_once")
    victim = scene.runner_of(job_id)
    namespace.ask("kill", victim, signal.SIGKILL)
    scene.becomes(job_id, Status.COMPLETED)
    assert attempts(scene, job_id) == [KILLED]
    assert namespace.ask("stranger", victim)
    eventually(lambda: is_whole_without(scene, victim))
    namespace.ask("kill", scene.status["pid"], signal.SIGHUP)
    eventually(lambda: len(scene.events("worker.ready")) == 5 and is_whole_without(scene, 0))
    supervisor, maintenance, workers = scene.status["pid"], scene.maintenance_pid, scene.worker_pids
    namespace.ask("kill", maintenance, signal.SIGSTOP)
    namespace.ask("kill", supervisor, signal.SIGKILL)
    strangers = {"a worker": victim, "worker 1": workers[0], "worker 2": workers[1], "the supervisor": supervisor}
    assert all(namespace.ask("stranger", each) for each in (*workers, supervisor))
    namespace.ask("kill", maintenance, signal.SIGCONT)
    eventually(lambda: not namespace.ask("alive", maintenance))
    assert scene.seen("supervisor.vanished")["workers"] == 2
    assert [name for name, each in strangers.items() if not namespace.ask("alive", each)] == []
    assert running_pid(scene.folder / "run") is None
    assert watch.violations() == []


@ON_ONE_DATABASE
def test_s8_a_worker_that_the_system_refuses_is_retried_until_it_is_granted(watch: Watch) -> None:
    """On one database: the system refuses, and the supervisor, which speaks to none, tries again."""
    scene = watch.scene()
    refusal = NoFork(watch.folder)
    scene.launch(*with_environment(refusal.environment))
    eventually(lambda: scene.status.get("state") == "running", within=20)
    [job_id] = scene.enqueue("lives_until_file_once")
    victim = scene.runner_of(job_id)
    refusal.begin()
    os.kill(victim, signal.SIGKILL)
    scene.becomes(job_id, Status.COMPLETED)
    eventually(lambda: len(scene.events("worker.not_started")) >= 2)
    os.kill(scene.maintenance_pid, signal.SIGKILL)
    eventually(lambda: [event["pid"] for event in scene.events("maintenance.lost")].count(0) >= 2)
    passes(0.5)  # it is tried twice at once, and then after a pause of 2 s, which must not begin now
    refusal.end()
    expect_relief(scene, victim)
    [after] = scene.enqueue("quick")
    scene.becomes(after, Status.COMPLETED)
    assert scene.stop() == 0
    assert watch.violations() == []


def expect_relief(scene: WatchedScene, victim: int) -> None:
    """All processes are there within 2 s of now, by the supervisor's own account."""
    relieved_at = time.time()
    eventually(lambda: is_whole_without(scene, victim) and scene.maintenance_pid)
    took = max(moment_of(scene.events(name)[-1]) for name in ("worker.ready", "maintenance.started")) - relieved_at
    assert took < WHOLE


@ON_ONE_DATABASE
def test_s8_a_supervisor_that_may_open_no_file_goes_on_and_is_whole_again_as_soon_as_it_may(watch: Watch) -> None:
    """On one database: the supervisor speaks to none. It may hold fewer files than it does, so none that the dead leave helps."""
    scene = watch.scene().start()
    assert scene.process is not None
    supervisor = scene.process.pid
    [job_id] = scene.enqueue("lives_until_file_once")
    victim, maintenance = scene.runner_of(job_id), scene.maintenance_pid
    fewest = 16
    assert {str(number) for number in range(fewest)} <= set(os.listdir(f"/proc/{supervisor}/fd"))
    soft, hard = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (fewest, hard))
    os.kill(victim, signal.SIGKILL)
    os.kill(maintenance, signal.SIGKILL)
    scene.seen("maintenance.lost", reason="could not be started: [Errno 24] Too many open files")
    passes(3)
    assert scene.process.poll() is None, scene.log.read_text()[-4000:]
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (soft, hard))
    expect_relief(scene, victim)
    scene.becomes(job_id, Status.COMPLETED)
    [after] = scene.enqueue("quick")
    scene.becomes(after, Status.COMPLETED)
    assert scene.stop() == 0
    assert watch.violations() == []
