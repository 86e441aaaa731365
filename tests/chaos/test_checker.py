"""The checker passes a clean run and names every violation that is planted in it; what watches must itself be watched."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from backends import Job, JobTypeFacts, Kind, NewJob, Outcome, Queue
from workers import Board, boot_time
from workers.live import LiveContext

from .checker import RULES, Row, check, gather
from .handlers import is_accepted, steady, ways_to_write
from .history import Operator, Recorder, read_histories
from .planted import PASSES, PLANTED
from .witness import Effect, Write, install, tag_of, write_effect


def watched(engine: Engine) -> Queue:
    """A queue whose database watches itself."""
    install(engine)
    queue = Queue(engine)
    queue.register({"t": JobTypeFacts(None)}, "test")
    return queue


@pytest.mark.parametrize("name", PASSES)
def test_what_is_promised_passes(name: str) -> None:
    assert check(PASSES[name]) == []


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_named_by_the_promise_it_breaks_and_in_words(name: str) -> None:
    promise, words, evidence = PLANTED[name]
    found = check(evidence)
    assert [each for each in found if each.promise == promise and words in each.what], found


def test_jobs_without_a_key_do_not_stand_under_one() -> None:
    clean = PASSES["a clean run"]
    nameless = [Row(job, "completed", 1, None) for job in (3, 4)]
    assert {violation.promise for violation in check(replace(clean, rows=[*clean.rows, *nameless]))} == {"G2"}


def test_every_rule_finds_something_of_what_is_planted() -> None:
    for rule in RULES:
        found = [name for name, (_, _, evidence) in PLANTED.items() if list(rule(evidence))]
        assert found, f"{rule.__name__} finds nothing"


def test_a_line_of_a_history_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "client")
    if (child := os.fork()) == 0:
        mine = Recorder(tmp_path, "client")
        for number in range(1000):
            mine.note("enqueue", "invoke", key=f"child {number}")
        os.kill(os.getpid(), 9)
    for number in range(1000):
        recorder.note("enqueue", "invoke", key=f"parent {number}")
    os.waitpid(child, 0)
    assert len({event.key for event in read_histories(tmp_path)}) == 2000


def test_the_witness_sees_what_the_queue_does(engine: Engine, tmp_path: Path) -> None:
    queue, client, worker = watched(engine), Recorder(tmp_path, "client"), Recorder(tmp_path, "worker")
    client.note("enqueue", "invoke", key="a")
    [job_id] = queue.enqueue([NewJob("t", 1, unique_key="a")])
    client.note("enqueue", "ok", job_id, key="a")
    for lease, kind in ((1, Kind.SNOOZED), (2, Kind.COMPLETED)):
        [job] = queue.claim(f"w:{lease}", ["t"], 1)
        worker.note("run", "started", job.id, job.lease)
        with queue.transaction(f"w:{lease}", job) as connection:
            write_effect(connection, job.id, job.lease)
        worker.note("run", "returned", job.id, job.lease)
        queue.settle(f"w:{lease}", [(job, Outcome(kind, "why"))])
    evidence = gather(engine, tmp_path)
    assert [(each.was, each.became, each.lease) for each in evidence.changes] == [
        (None, "pending", 0), ("pending", "running", 1), ("running", "pending", 1), ("pending", "running", 2),
        ("running", "completed", 2),
    ]
    assert evidence.effects == [Effect(1, 1, 2), Effect(1, 2, 4)]
    assert check(evidence) == []


def test_the_witness_sees_a_row_that_a_superseded_attempt_wrote_and_who_moved_a_final_job(engine: Engine, tmp_path: Path) -> None:
    queue = watched(engine)
    [job_id] = queue.enqueue([NewJob("t", 1, unique_key="a")])
    [job] = queue.claim("w:1", ["t"], 1)
    queue.settle("w:1", [(job, Outcome(Kind.COMPLETED))])
    with engine.begin() as connection:
        write_effect(connection, job_id, 1)
        connection.execute(text("UPDATE indexing_jobs SET status = 'failed' WHERE id = :id"), {"id": job_id})
    assert {"G6", "G7"} <= {violation.promise for violation in check(gather(engine, tmp_path))}


def test_the_witness_sees_renewals_progress_and_checkpoints_and_who_held_the_job(engine: Engine, tmp_path: Path) -> None:
    queue = watched(engine)
    queue.enqueue([NewJob("t", 1, unique_key="a")])
    [job] = queue.claim("w:1", ["t"], 1)
    queue.heartbeat(["w:1"])
    queue.progress("w:1", job, {"processed_files": 1})
    queue.progress("w:1", job, {"progress_message": "half"})
    queue.checkpoint("w:1", job, "1")
    queue.settle("w:1", [(job, Outcome(Kind.SNOOZED, "why"))])
    mine = (1, "running", 1, "w:1")
    assert gather(engine, tmp_path).writes == [
        Write("renewal", None, *mine), Write("progress", None, *mine), Write("progress", "half", *mine),
        Write("checkpoint", "1", *mine),
    ]
    with engine.begin() as connection:
        for column, value in (("locked_at", "created_at"), ("progress_message", "'late'"), ("checkpoint", "'2'")):
            connection.exec_driver_sql(f"UPDATE indexing_jobs SET {column} = {value}")
    late = {violation.what for violation in check(gather(engine, tmp_path)) if violation.promise == "G6"}
    assert late == {f"job 1: a {what} was written while it was pending" for what in ("renewal", "progress", "checkpoint")}


def test_whoever_haunts_is_let_under_a_lease_that_lives_and_refused_under_one_that_is_over(engine: Engine) -> None:
    queue = watched(engine)
    queue.enqueue([NewJob("t", 1)])
    [former] = queue.claim("w:1", ["t"], 1)
    queue.settle("w:1", [(former, Outcome(Kind.SNOOZED, "why"))])
    [current] = queue.claim("w:2", ["t"], 1)
    with queue.engine.connect() as connection:
        assert [tag_of(connection, former.id, lease) for lease in (1, 2, 3)] == ["w:1", "w:2", None]
    refused = {how: is_accepted(write) for how, write in ways_to_write(queue, former, "w:1")}
    assert refused == dict.fromkeys(("progress", "checkpoint", "transaction", "success", "failure", "renewal"), False)
    let = {how: is_accepted(write) for how, write in ways_to_write(queue, current, "w:2")}
    assert [how for how, is_let in let.items() if is_let] == ["progress", "checkpoint", "transaction", "success"]


def test_a_second_attempt_haunts_the_first_in_every_way_and_writes_down_that_it_was_refused(
    engine: Engine, tmp_path: Path
) -> None:
    queue = watched(engine)
    queue.enqueue([NewJob("t", 1, unique_key="a", parameters={"histories": str(tmp_path)})])
    for lease, kind in ((1, Kind.SNOOZED), (2, Kind.COMPLETED)):
        [job] = queue.claim(f"w:{lease}", ["t"], 1)
        _steadily(queue, job, f"w:{lease}")
        queue.settle(f"w:{lease}", [(job, Outcome(kind, "why"))])
    haunts = [event for event in read_histories(tmp_path) if event.op == "haunt"]
    assert {event.what for event in haunts} == {"invoke", "failed"}
    assert {(event.lease, event.tag) for event in haunts} == {(1, "w:1")}
    assert len({event.key for event in haunts}) == 6


def _steadily(queue: Queue, job: Job, tag: str) -> None:
    """Run the handler as a worker would."""
    context = LiveContext(
        queue, Board(1).slots[0], tag, job, 0.0, lambda phase: None, lambda: False, lambda: boot_time() + 60
    )
    with contextlib.suppress(Exception):
        steady(context)


def test_an_operator_writes_down_what_he_asked_for_and_whether_anything_came_of_it(engine: Engine, tmp_path: Path) -> None:
    operator = Operator(engine, tmp_path)
    [job_id] = operator.enqueue([NewJob("t", 1)])
    operator.retry(job_id)
    operator.cancel(job_id)
    operator.cancel(job_id)
    operator.retry(job_id)
    said = [(event.op, event.what) for event in read_histories(tmp_path)]
    assert said == [
        ("retry", "invoke"), ("retry", "failed"), ("cancel", "invoke"), ("cancel", "ok"),
        ("cancel", "invoke"), ("cancel", "failed"), ("retry", "invoke"), ("retry", "ok"),
    ]
