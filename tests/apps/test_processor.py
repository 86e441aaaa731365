"""The job processor lives with the API, under real uvicorn: one a host and configuration, found again, drained at the end."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from apps.processor import JobQueueProcessor
from backends import Status
from config import Processing, order_processing, processing_ordered
from tests.apps.embedding import Embedding
from tests.supervisor.scene import is_gone
from tests.support import REPOSITORY, eventually

Embed = Callable[..., Embedding]
UP_WITHIN = 40.0


@pytest.fixture
def embed(tmp_path: Path, database_url: str) -> Iterator[Embed]:
    """`embed(**settings)` makes such a scene; it is not started yet."""
    scenes: list[Embedding] = []

    def make(**settings: Any) -> Embedding:
        scenes.append(Embedding(tmp_path, database_url, f"embedding-{len(scenes)}", **settings))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.close()


on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


def started(scene: Embedding, *options: str) -> Embedding:
    scene.launch(*options)
    eventually(scene.is_up, within=UP_WITHIN)
    return scene


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_processor_comes_with_the_api_and_ends_with_it_when_its_job_is_done(embed: Embed, number: int) -> None:
    scene = started(embed(workers=1))
    [job_id] = scene.enqueue("until_file")
    scene.runner_of(job_id)
    family = scene.family()
    scene.send(number)
    eventually(lambda: scene.status["state"] == "draining")
    scene.until.touch()
    scene.exit_code()
    assert is_gone(*family)
    job = scene.job(job_id)
    assert (job.status, job.retry_count, job.interruptions) == (Status.COMPLETED, 0, 0)
    assert "Traceback" not in scene.log.read_text()


@on_sqlite
def test_a_killed_api_that_comes_back_finds_its_processor_and_one_that_does_not_leaves_none(embed: Embed) -> None:
    scene = started(embed(workers=1))
    first, family = scene.supervisor_pid, scene.family()
    [job_id] = scene.enqueue("until_file")
    scene.runner_of(job_id)
    scene.stop(signal.SIGKILL)
    scene.launch()
    eventually(lambda: scene.log.read_text().count("Application startup complete") == 2, within=UP_WITHIN)
    assert scene.supervisor_pid == first
    scene.stop(signal.SIGKILL)
    eventually(lambda: scene.status["state"] == "draining", within=UP_WITHIN)
    scene.until.touch()
    eventually(lambda: is_gone(*family))
    job = scene.job(job_id)
    assert (job.status, job.retry_count, job.interruptions) == (Status.COMPLETED, 0, 0)


@on_sqlite
def test_a_killed_supervisor_is_replaced_and_its_job_runs_again_without_a_retry_spent(embed: Embed) -> None:
    scene = started(embed(workers=1))
    [job_id] = scene.enqueue("first_time_until_file")
    scene.runner_of(job_id)
    first = scene.supervisor_pid
    assert first is not None
    subprocess.run(["kill", "-9", str(first)], check=True)
    scene.becomes(job_id, Status.COMPLETED, within=UP_WITHIN)
    assert scene.supervisor_pid not in (None, first)
    job = scene.job(job_id)
    assert (job.retry_count, job.interruptions) == (0, 1)
    scene.stop()
    assert scene.supervisor_pid is None


@on_sqlite
def test_a_supervisor_that_somebody_tells_to_end_stays_away_until_the_order_to_start(embed: Embed) -> None:
    scene = started(embed(workers=1))
    first = scene.supervisor_pid
    subprocess.run(["kill", "-TERM", str(first)], check=True)
    eventually(lambda: scene.supervisor_pid is None)
    assert scene.steering.status().shutdown_requested
    assert scene.steering.start()
    eventually(scene.is_up, within=UP_WITHIN)
    assert scene.supervisor_pid != first
    scene.stop()
    assert scene.supervisor_pid is None


@on_sqlite
def test_four_api_processes_share_one_processor_and_the_last_one_ends_it(embed: Embed) -> None:
    scene = started(embed(workers=1), "--workers", "4")
    first = scene.supervisor_pid

    def api_processes() -> list[Any]:
        return [each for each in scene.tree() if "spawn_main" in " ".join(each.cmdline())]

    eventually(lambda: scene.log.read_text().count("Application startup complete") == 4, within=UP_WITHIN)
    scene.steering.stop()
    assert scene.status["state"] == "resting"
    api_processes()[0].kill()
    eventually(lambda: scene.log.read_text().count("Application startup complete") == 5, within=UP_WITHIN)
    assert scene.status["state"] == "resting"
    assert scene.steering.start()
    eventually(scene.is_up)
    assert scene.supervisor_pid == first
    [job_id] = scene.enqueue("until_file")
    scene.runner_of(job_id)
    family = scene.family()
    scene.send(signal.SIGTERM)
    eventually(lambda: scene.status["state"] == "draining")
    scene.until.touch()
    scene.exit_code(30)
    eventually(lambda: is_gone(*family))
    assert (scene.job(job_id).status, scene.job(job_id).retry_count) == (Status.COMPLETED, 0)


@on_sqlite
def test_the_api_starts_without_a_usable_configuration_and_the_processor_follows_when_there_is_one(embed: Embed) -> None:
    scene = embed(workers=1, lock_timeout="soon")
    scene.launch()
    eventually(lambda: "processor.not_started" in scene.log.read_text(), within=UP_WITHIN)
    assert scene.process is not None
    assert scene.process.poll() is None
    scene.write_config(lock_timeout=3)
    eventually(scene.is_up, within=UP_WITHIN)
    scene.stop()
    assert scene.supervisor_pid is None


@on_sqlite
def test_the_api_starts_without_a_usable_log_file_and_says_so(embed: Embed, tmp_path: Path) -> None:
    scene = embed(workers=1, logging={"file": str(tmp_path)})
    scene.launch()
    eventually(lambda: scene.events("logs.file_not_used") and scene.events("processor.lost"), within=UP_WITHIN)
    assert "Traceback" not in scene.log.read_text()
    assert f"cannot write the log file {tmp_path}: Is a directory" in scene.log.read_text()


@on_sqlite
def test_a_run_directory_that_cannot_be_used_is_said_and_used_as_soon_as_it_can_be(embed: Embed) -> None:
    scene = embed(workers=1)
    scene.run_dir.touch()
    scene.launch()
    eventually(lambda: scene.events("processor.not_started"), within=UP_WITHIN)
    eventually(lambda: "running on" in scene.log.read_text())
    with httpx2.Client(base_url=f"http://127.0.0.1:{scene.port}/job-queue", trust_env=False, timeout=20) as client:
        status = client.get("/status")
        assert (status.status_code, status.json()["processor"]["shutdown_requested"]) == (200, False)
        for order in ("start", "stop"):
            refused = client.post(f"/{order}-processor")
            assert (refused.status_code, refused.json()["title"]) == (409, "Conflict")
            assert f"cannot be written: {scene.run_dir}: " in refused.json()["detail"]
        scene.run_dir.unlink()
        assert client.post("/start-processor").status_code == 200
    eventually(scene.is_up, within=UP_WITHIN)
    scene.stop()


@on_sqlite
def test_an_operators_supervisor_rests_when_the_api_says_so_and_outlives_it(embed: Embed) -> None:
    scene = embed(workers=1)
    scene.write_config()
    operators = subprocess.Popen([sys.executable, "-m", "tests.supervisor.run_one", str(scene.config)], cwd=REPOSITORY)
    try:
        eventually(scene.is_up, within=UP_WITHIN)
        with JobQueueProcessor(scene.config) as processor:
            assert not processor.start()
            assert processor.stop()
            assert not processor.stop()
            assert not processor.status().running
            assert scene.status["state"] == "resting"
            assert processor.start()
            eventually(lambda: processor.status().running)
        assert scene.supervisor_pid == operators.pid
        assert scene.status["state"] == "running"
    finally:
        operators.terminate()
        assert operators.wait(20) == 0


@on_sqlite
def test_a_run_directory_that_is_removed_comes_back_and_nothing_is_doubled(embed: Embed) -> None:
    scene = started(embed(workers=1))
    first = scene.supervisor_pid
    shutil.rmtree(scene.run_dir.rename(scene.folder / "moved"))  # as it is removed, files would come back into it
    eventually(lambda: scene.events("run_dir.restored"))
    eventually(scene.is_up)
    assert scene.supervisor_pid == first
    other = subprocess.run([sys.executable, "-m", "tests.supervisor.run_one", str(scene.config)], cwd=REPOSITORY, timeout=60)
    assert other.returncode == 5
    family = scene.family()
    scene.stop()
    eventually(lambda: is_gone(*family))
    assert _supervisors_of(scene) == []


@on_sqlite
def test_a_supervisor_that_is_started_again_is_found_whatever_the_file_says_by_then(embed: Embed) -> None:
    scene = started(embed(workers=1))
    first = scene.supervisor_pid
    assert first is not None
    scene.write_config(run_dir=str(scene.folder / "elsewhere"))
    subprocess.run(["kill", "-9", str(first)], check=True)
    eventually(lambda: scene.supervisor_pid not in (None, first) and scene.is_up(), within=UP_WITHIN)
    family = scene.family()
    scene.stop()
    assert is_gone(*family)


@on_sqlite
def test_a_killed_supervisor_of_an_operator_is_left_to_the_operator_for_a_while(embed: Embed) -> None:
    scene = embed(workers=1)
    scene.write_config()
    command = [sys.executable, "-m", "tests.supervisor.run_one", str(scene.config)]
    operators = subprocess.Popen(command, cwd=REPOSITORY)
    eventually(scene.is_up, within=UP_WITHIN)
    with JobQueueProcessor(scene.config) as processor:
        assert processor.status().running
        operators.kill()
        assert operators.wait(10)
        with pytest.raises(AssertionError, match="not within 3 s"):
            eventually(lambda: scene.supervisor_pid, within=3)
        operators = subprocess.Popen(command, cwd=REPOSITORY)
        eventually(scene.is_up, within=UP_WITHIN)
        assert scene.supervisor_pid == operators.pid
    operators.terminate()
    assert operators.wait(20) == 0


@on_sqlite
def test_the_object_tells_the_truth_about_itself(embed: Embed) -> None:
    scene = embed(workers=1)
    scene.write_config()
    processor = JobQueueProcessor(scene.config)
    assert (processor.status().running, processor.status().thread_alive) == (False, False)
    assert processor.start()
    eventually(lambda: processor.status().running, within=UP_WITHIN)
    assert not processor.start()
    seen = processor.status()
    assert seen.process_id == f"processor_{scene.status['id']}"
    assert (seen.thread_alive, seen.shutdown_requested) == (True, False)
    family = scene.family()
    assert processor.stop()
    seen = processor.status()
    assert (seen.process_id, seen.running, seen.thread_alive, seen.shutdown_requested) == (None, False, False, True)
    assert is_gone(*family)


RACER = """
import random, sys, threading
from apps.processor import JobQueueProcessor

processor, chance = JobQueueProcessor(sys.argv[1]), random.Random(int(sys.argv[2]))
lives = [chance.choices(("start", "stop"), k=6) for _ in range(8)]

def live(words):
    for word in words:
        processor.start() if word == "start" else processor.stop(wait=chance.random() < 0.2)

threads = [threading.Thread(target=live, args=(words,)) for words in lives]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("done", flush=True)
sys.stdin.read()
processor.close()
"""


@on_sqlite
@pytest.mark.parametrize("last", ["start", "stop"])
def test_whoever_orders_whatever_at_once_the_last_order_holds_and_nobody_is_doubled(embed: Embed, last: str) -> None:
    scene = embed(workers=1)
    scene.write_config()
    seed = random.randrange(10**6)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(scene.config), str(seed + number)], cwd=REPOSITORY, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "done\n", f"seed {seed}"
        with JobQueueProcessor(scene.config) as processor:
            getattr(processor, last)()
            if last == "start":
                eventually(scene.is_up, within=UP_WITHIN)
            else:
                eventually(lambda: not scene.status.get("workers") or not scene.worker_pids, within=UP_WITHIN)
            assert processor.status().running == (last == "start"), f"seed {seed}"
            for racer in racers:
                racer.communicate("", timeout=60)
    finally:
        for racer in racers:
            racer.kill()
    assert scene.supervisor_pid is None
    assert _supervisors_of(scene) == []


def _supervisors_of(scene: Embedding) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if str(scene.config) in line]


@on_sqlite
def test_the_first_owner_begins_afresh_and_a_later_one_keeps_the_order(embed: Embed) -> None:
    scene = embed(workers=1)
    scene.write_config()
    order_processing(scene.run_dir, Processing.STOP)
    with JobQueueProcessor(scene.config):
        assert processing_ordered(scene.run_dir) is Processing.GO
        order_processing(scene.run_dir, Processing.STOP)
        with JobQueueProcessor(scene.config):
            assert processing_ordered(scene.run_dir) is Processing.STOP


@on_sqlite
def test_where_a_supervisor_is_named_none_is_started_beside_it(embed: Embed) -> None:
    scene = embed(workers=1)
    scene.write_config()
    with scene.steering as processor:
        assert processor.start()
        assert processing_ordered(scene.run_dir) is Processing.GO
        status = processor.status()
        assert (status.process_id, status.running, status.thread_alive) == (None, False, False)
        assert not list(scene.run_dir.glob("owners"))
        processor.stop()
        assert processor.status().shutdown_requested
