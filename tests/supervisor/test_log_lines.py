"""What a real supervisor and its workers log of their jobs: whoever filters by one key finds everything."""

from __future__ import annotations

from backends import Status
from tests.supervisor.conftest import Stage

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
