"""What a real supervisor and its workers log of their jobs: whoever filters by one key finds everything."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from backends import Status
from tests.supervisor.conftest import Stage
from tests.support import eventually
from workers import readable

OF_A_JOB = {"job_id", "job_type", "program_id", "attempt", "process_id", "pid"}


def test_every_line_about_a_job_says_which_job_which_attempt_and_which_worker(stage: Stage) -> None:
    scene = stage(workers=1).start()
    (done,) = scene.enqueue("quick")
    scene.becomes(done, Status.COMPLETED)
    (crashing,) = scene.enqueue("segfaults")
    scene.becomes(crashing, Status.FAILED, within=20)
    scene.seen("job.reclaimed", job_id=crashing, status="failed")
    assert scene.stop() == 0
    lines = scene.events()
    assert all(tuple(line)[:4] == ("ts", "level", "event", "logger") for line in lines)
    about = [line for line in lines if line["event"].startswith("job.")]
    assert {(line["event"], line["job_id"]) for line in about} >= {
        ("job.claimed", done), ("job.completed", done), ("job.claimed", crashing), ("job.reclaimed", crashing),
    }
    for line in about:
        assert line.keys() >= OF_A_JOB, line
        assert (line["process_id"], line["program_id"]) == ("one-1", 1)
    lost = [line for line in lines if line["event"] == "worker.lost"]
    reclaimed = [line for line in about if line["event"] == "job.reclaimed"]
    key = ("job_id", "attempt", "process_id", "pid")
    assert [[line[name] for name in key] for line in lost] == [[line[name] for name in key] for line in reclaimed]
    assert [line["attempt"] for line in reclaimed] == [1, 2, 3, 4]


def test_a_supervisor_whose_log_nobody_reads_goes_on_judging_and_says_later_how_much_was_not_said(quiet_stage: Stage) -> None:
    reader, writer = os.pipe()
    _fill(writer)
    impatient = {"deaf": {"handler": "tests.supervisor.handlers:deaf", "timeout": 0.3, "retry": {"max_retries": 0}}}
    scene = quiet_stage(workers=2, job_types=impatient).start(output=writer)
    os.close(writer)
    [deaf] = scene.enqueue("deaf")
    scene.becomes(deaf, Status.FAILED)
    former = scene.maintenance_pid
    os.kill(former, signal.SIGKILL)
    eventually(lambda: scene.maintenance_pid not in (0, former))
    [job_id] = scene.enqueue("quick")
    scene.becomes(job_id, Status.COMPLETED)
    heard = bytearray()

    def is_heard(name: bytes) -> bool:
        heard.extend(_read(reader))
        return name in heard

    assert not is_heard(b"logs.dropped")
    scene.send(signal.SIGHUP)
    eventually(lambda: is_heard(b"reload.done"))
    assert b"logs.dropped" in heard
    assert scene.stop() == 0
    os.close(reader)


def _fill(pipe: int) -> None:
    """Leave no room in it, and let whoever writes there wait all the same."""
    own = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(own, b"." * 4096)
    os.close(own)


def _read(pipe: int) -> bytes:
    text = b""
    while readable([pipe], 0.0):
        text += os.read(pipe, 65536)
    return text
