"""The checker passes a clean run and names every violation that is planted in it; what watches must itself be watched."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from backends import JobTypeFacts, Kind, NewJob, Outcome, Queue

from .checker import RULES, Attempt, Evidence, Row, check, gather
from .history import Event, Recorder, read_histories
from .witness import Change, Effect, install, write_effect


def asked(at: float, key: str, what: str = "invoke", job: int = 0, group: str = "") -> Event:
    """One line of somebody who adds jobs."""
    return Event(at, "client", "enqueue", what, job, key=key, group=group)


def ran(at: float, what: str, job: int, lease: int, lane: str = "") -> Event:
    """One line of a handler."""
    return Event(at, "worker", "run", what, job, lease, lane=lane)


def clean() -> Evidence:
    """Job 1 fails once and then completes; job 2 follows it in their lane and completes at once."""
    return Evidence(
        history=[
            asked(1, "a"), asked(1.1, "a", "ok", 1), asked(1.2, "b"), asked(1.3, "b", "ok", 2),
            ran(2, "started", 1, 1, "x"), ran(2.1, "raised", 1, 1, "x"),
            ran(3, "started", 1, 2, "x"), ran(3.1, "alive", 1, 2, "x"), ran(3.2, "returned", 1, 2, "x"),
            ran(4, "started", 2, 1, "x"), ran(4.1, "returned", 2, 1, "x"),
        ],
        changes=[
            Change(1, None, "pending", 0, key="a"), Change(2, None, "pending", 0, key="b"),
            Change(1, "pending", "running", 1, "w:1", "x"), Change(1, "running", "pending", 1, "w:1", "x"),
            Change(1, "pending", "running", 2, "w:2", "x"), Change(1, "running", "completed", 2, "w:2", "x"),
            Change(2, "pending", "running", 1, "w:3", "x"), Change(2, "running", "completed", 1, "w:3", "x"),
        ],
        effects=[Effect(1, 1, 2), Effect(1, 2, 4), Effect(2, 1, 2)],
        rows=[Row(1, "completed", 2, "a"), Row(2, "completed", 1, "b")],
        attempts=[Attempt(1, 1, "failed", "as planned")],
    )


def with_history(*events: Event, without: Callable[[Event], bool] = lambda event: False) -> Evidence:
    """The clean run with these lines more, and some fewer."""
    kept = [event for event in clean().history if not without(event)]
    return replace(clean(), history=sorted([*kept, *events], key=lambda event: event.at))


def with_changes(at: int, *changes: Change, instead: int = 0) -> Evidence:
    """The clean run with these changes at a place, instead of so many of its own."""
    kept = clean().changes
    return replace(clean(), changes=[*kept[:at], *changes, *kept[at + instead:]])


def after_a_retry(invoked: bool) -> Evidence:
    """Job 2 runs once more after it was completed; somebody asked for that, or nobody did."""
    again = (Change(2, "completed", "pending", 1), Change(2, "pending", "running", 2, "w:4", "x"),
             Change(2, "running", "completed", 2, "w:4", "x"))
    runs = (ran(6, "started", 2, 2, "x"), ran(6.1, "returned", 2, 2, "x"))
    word = (Event(5, "operator", "retry", "invoke", 2),) if invoked else ()
    rows = [clean().rows[0], Row(2, "completed", 2, "b")]
    return replace(with_history(*runs, *word), changes=[*clean().changes, *again], rows=rows)


PLANTED = {
    "an acknowledged job is gone": ("G1", replace(clean(), rows=clean().rows[:1])),
    "a job is deleted before it is over": (
        "G1", replace(with_changes(6, Change(2, "pending", None, 0), instead=2), rows=clean().rows[:1]),
    ),
    "a job is never run": ("G1", replace(clean(), rows=[clean().rows[0], Row(2, "pending", 1, "b")])),
    "a job nobody asked for": ("G2", replace(clean(), rows=[*clean().rows, Row(3, "completed", 1, "c")])),
    "a job whose transaction was rolled back": (
        "G2", with_history(asked(1.3, "b", "failed"), without=lambda each: each.key == "b" and each.what == "ok")
    ),
    "half of a transaction": (
        "G2", with_history(asked(1.2, "b", group="g"), asked(1.2, "c", group="g"), without=lambda each: each.key == "b")
    ),
    "one key, two jobs": ("G3", with_history(asked(1.4, "a", "ok", 2))),
    "claimed while it runs": ("G5", with_changes(3, Change(1, "running", "running", 2, "w:9", "x"))),
    "a lease given twice": ("G5", with_changes(4, Change(1, "pending", "running", 1, "w:2", "x"), instead=1)),
    "a run under a lease that nobody gave": ("G5", with_history(ran(5, "started", 2, 2, "x"))),
    "a run under a tag that nobody gave": ("G5", with_history(replace(ran(4.05, "alive", 2, 1, "x"), tag="w:9"))),
    "two of a lane were claimed": ("G5", with_changes(3, Change(2, "pending", "running", 1, "w:3", "x"))),
    "two of a lane ran": ("G5", with_history(ran(4.05, "alive", 1, 2, "x"))),
    "a superseded handler lives on": ("G8", with_history(ran(3.05, "alive", 1, 1))),
    "a move nobody may make": ("G7", with_changes(8, Change(2, "completed", "failed", 1))),
    "a final state changes by itself": ("G7", after_a_retry(invoked=False)),
    "a row under a superseded lease": ("G6", replace(clean(), effects=[Effect(1, 1, 4)])),
    "a row of one whose lease was given again": ("G6", replace(clean(), effects=[Effect(2, 1, 2, "w:9")])),
    "a job's number was given to another": ("G1", replace(clean(), rows=[clean().rows[0], Row(2, "completed", 1, "c")])),
    "a row under no lease": ("G6", replace(clean(), effects=[Effect(1, 1, 1)])),
    "settled under another lease": ("G6", with_changes(5, Change(1, "running", "completed", 1, "w:1", "x"), instead=1)),
    "success that nobody earned": (
        "G6", with_history(without=lambda each: (each.job, each.what) == (2, "returned"))
    ),
    "a second run that nothing explains": ("G4", replace(clean(), attempts=[])),
    "an attempt ended twice": ("G4", replace(clean(), attempts=clean().attempts * 2)),
}


def watched(engine: Engine) -> Queue:
    """A queue whose database watches itself."""
    install(engine)
    queue = Queue(engine)
    queue.register({"t": JobTypeFacts(None)}, "test")
    return queue


def test_a_clean_run_passes() -> None:
    assert check(clean()) == []
    assert check(after_a_retry(invoked=True)) == []
    assert check(with_history(asked(1.4, "a", group="g"), asked(1.4, "c", group="g"))) == []  # c never came, a was there


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_named_by_the_promise_it_breaks(name: str) -> None:
    promise, evidence = PLANTED[name]
    assert promise in {violation.promise for violation in check(evidence)}, check(evidence)


def test_every_rule_finds_something_of_what_is_planted() -> None:
    for rule in RULES:
        found = [name for name, (_, evidence) in PLANTED.items() if list(rule(evidence))]
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


def test_a_job_that_is_pruned_when_it_is_over_is_not_missed() -> None:
    assert check(replace(with_changes(8, Change(2, "completed", None, 1)), rows=clean().rows[:1])) == []
