"""Runs that never were: a clean one, others in which a promise is broken, and some that only look so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .checker import Attempt, Evidence, Row
from .damage import Inspection
from .history import Event
from .witness import Change, Effect, Write, signature

BOOTED = 1_000_000.0
"""When the machine of the planted runs was started, in seconds of the epoch: the database's clock shows that much more."""

KEYS = {1: "a", 2: "b", 3: "c"}


def asked(at: float, key: str, what: str = "invoke", job: int = 0, group: str = "") -> Event:
    """One line of somebody who adds jobs."""
    return Event(at, "client", "enqueue", what, job, key=key, group=group)


def ran(at: float, what: str, job: int, lease: int, verdict: str = "") -> Event:
    """One line of a handler."""
    return Event(at, "worker", "run", what, job, lease, verdict=verdict)


def operated(at: float, op: str, what: str, job: int, actor: str = "operator") -> Event:
    """One line of an operator."""
    return Event(at, actor, op, what, job)


def moved(at: float, job: int, was: str | None, became: str | None, lease: int, tag: str | None = None, **more: Any) -> Change:
    """One line of the witness; all jobs are of one lane."""
    given = {"key": KEYS[job], "at": BOOTED + at, "job_type": "laned", "program": 1} | more
    return Change(job, was, became, lease, tag, **given)


def clean() -> Evidence:
    """Job 1 fails once and then completes; job 2 follows it in their lane and completes at once."""
    return Evidence(
        history=[
            asked(1, "a"), asked(1.1, "a", "ok", 1), asked(1.2, "b"), asked(1.3, "b", "ok", 2),
            ran(2, "started", 1, 1), ran(2.1, "raised", 1, 1, "failed"),
            ran(3, "started", 1, 2), ran(3.1, "alive", 1, 2), ran(3.2, "returned", 1, 2),
            ran(4, "started", 2, 1), ran(4.1, "returned", 2, 1),
        ],
        changes=[
            moved(1.05, 1, None, "pending", 0), moved(1.25, 2, None, "pending", 0),
            moved(1.9, 1, "pending", "running", 1, "w:1"), moved(2.2, 1, "running", "pending", 1, "w:1"),
            moved(2.9, 1, "pending", "running", 2, "w:2"), moved(3.3, 1, "running", "completed", 2, "w:2"),
            moved(3.9, 2, "pending", "running", 1, "w:3"), moved(4.2, 2, "running", "completed", 1, "w:3"),
        ],
        effects=[Effect(1, 1, 2, "w:1"), Effect(1, 2, 4), Effect(2, 1, 2)],
        rows=[Row(1, "completed", 2, "a"), Row(2, "completed", 1, "b")],
        attempts=[Attempt(1, 1, "failed", "as planned")],
        writes=[
            Write("renewal", None, 1, "running", 1, "w:1"),
            Write("progress", signature(1, "w:1"), 1, "running", 1, "w:1"),
            Write("checkpoint", f'"{signature(2, "w:2")}"', 1, "running", 2, "w:2"),
            Write("progress", "half of it", 1, "running", 2, "w:2"),
        ],
        booted=BOOTED,
        inspection=Inspection("integrity_check"),
    )


def with_history(*events: Event, without: Callable[[Event], bool] = lambda event: False) -> Evidence:
    """The clean run with these lines more, and some fewer."""
    kept = [event for event in clean().history if not without(event)]
    return replace(clean(), history=sorted([*kept, *events], key=lambda event: event.at))


def with_changes(at: int, *changes: Change, instead: int = 0) -> Evidence:
    """The clean run with these changes at a place, instead of so many of its own."""
    kept = clean().changes
    return replace(clean(), changes=[*kept[:at], *changes, *kept[at + instead:]])


def with_writes(*writes: Write) -> Evidence:
    """The clean run in which this was written, too."""
    return replace(clean(), writes=[*clean().writes, *writes])


def run_again(*words: Event, at: float = 5.5) -> Evidence:
    """Job 2 runs once more after it was completed; somebody asked for that, or nobody did."""
    again = (moved(at, 2, "completed", "pending", 1), moved(5.9, 2, "pending", "running", 2, "w:4"),
             moved(6.2, 2, "running", "completed", 2, "w:4"))
    runs = (ran(6, "started", 2, 2), ran(6.1, "returned", 2, 2))
    rows = [clean().rows[0], Row(2, "completed", 2, "b")]
    return replace(with_history(*runs, *words), changes=[*clean().changes, *again], rows=rows)


def retried(since: float, until: float | None = None, answer: str = "ok") -> tuple[Event, ...]:
    """An operator's retry of job 2; without an end nobody has its answer."""
    answered = () if until is None else (operated(until, "retry", answer, 2),)
    return operated(since, "retry", "invoke", 2), *answered


def run_again_twice(*words: Event) -> Evidence:
    """The same, and then again."""
    once = run_again(*words)
    more = (moved(7, 2, "completed", "pending", 2), moved(7.1, 2, "pending", "running", 3, "w:5"),
            moved(7.9, 2, "running", "completed", 3, "w:5"))
    runs = [ran(7.2, "started", 2, 3), ran(7.3, "returned", 2, 3)]
    rows = [clean().rows[0], Row(2, "completed", 3, "b")]
    history = sorted([*once.history, *runs], key=lambda event: event.at)
    return replace(once, history=history, changes=[*once.changes, *more], rows=rows)


def cancelled(*words: Event, was: str = "running", kept: str = "cancelled") -> Evidence:
    """Job 2 was cancelled at 4.15 instead of completed; or before it ran."""
    rows = [clean().rows[0], Row(2, "cancelled", 1 if was == "running" else 0, "b")]
    if was == "pending":
        without = with_history(*words, without=lambda event: event.op == "run" and event.job == 2)
        changes = [*clean().changes[:6], moved(4.15, 2, "pending", "cancelled", 0)]
        return replace(without, rows=rows, changes=changes, effects=clean().effects[:2])
    found = with_history(*words, without=lambda event: (event.what, event.job) == ("returned", 2))
    changes = [*clean().changes[:7], moved(4.15, 2, "running", "cancelled", 1, "w:3")]
    return replace(found, rows=rows, changes=changes, attempts=[*clean().attempts, Attempt(2, 1, kept, "because")])


def cancelled_in_a_second_life(*words: Event) -> Evidence:
    """Job 2 was completed, an operator had it run again, and then it was cancelled, at 6.2."""
    again = run_again(*retried(5, 5.6), *words)
    changes = [*again.changes[:-1], moved(6.2, 2, "running", "cancelled", 2, "w:4")]
    rows = [clean().rows[0], Row(2, "cancelled", 2, "b")]
    history = [event for event in again.history if (event.what, event.lease, event.job) != ("returned", 2, 2)]
    return replace(again, history=sorted(history, key=lambda event: event.at), changes=changes, rows=rows,
                   attempts=[*clean().attempts, Attempt(2, 2, "cancelled", "because")])


def ended(*outcomes: str, max_retries: int = 3, final: str = "failed", retried_after: int = 0) -> Evidence:
    """Job 1 alone, with an attempt of each of these outcomes; an operator put it back after some of them."""
    history, changes = [asked(1, "a"), asked(1.1, "a", "ok", 1)], [moved(1.05, 1, None, "pending", 0)]
    for lease in range(1, len(outcomes) + 1):
        at, tag = 10.0 * lease, f"w:{lease}"
        is_last = lease in (len(outcomes), retried_after)
        history += [ran(at, "started", 1, lease), ran(at + 1, "raised", 1, lease)]
        changes += [moved(at - 1, 1, "pending", "running", lease, tag),
                    moved(at + 2, 1, "running", final if is_last else "pending", lease, tag)]
        if lease == retried_after:
            history += [operated(at + 3, "retry", "invoke", 1), operated(at + 4, "retry", "ok", 1)]
            changes.append(moved(at + 3.5, 1, final, "pending", lease))
    attempts = [Attempt(1, lease, outcome, "because") for lease, outcome in enumerate(outcomes, 1)]
    rows = [Row(1, final, len(outcomes), "a", max_retries)]
    return replace(clean(), history=history, changes=changes, rows=rows, attempts=attempts, effects=[], writes=[])


def kept_as(*attempts: Attempt, verdict: str = "failed") -> Evidence:
    """The clean run in which these attempts are kept, and the handler of the first one said this."""
    history = [replace(event, verdict=verdict) if event.what == "raised" else event for event in clean().history]
    return replace(clean(), history=history, attempts=list(attempts))


def given_back(became: str = "pending", begun: bool = False) -> Evidence:
    """Job 2 was claimed twice, and the first time given back before anybody began; or not so."""
    first = (moved(3.4, 2, "pending", "running", 1, "w:9"), moved(3.5, 2, "running", became, 1, "w:9"))
    second = (moved(3.9, 2, became, "running", 2, "w:3"), moved(4.2, 2, "running", "completed", 2, "w:3"))
    later = [replace(event, lease=2) if (event.op, event.job) == ("run", 2) else event for event in clean().history]
    start = [ran(3.45, "started", 2, 1)] if begun else []
    return replace(
        clean(), history=sorted([*later, *start], key=lambda event: event.at), changes=[*clean().changes[:6], *first, *second],
        rows=[clean().rows[0], Row(2, "completed", 2, "b")], effects=clean().effects[:2],
    )


def with_job_3(*, at: float, program: int = 1, key: str = "c", job_type: str = "laned", place: int = 8) -> Evidence:
    """The clean run with a job more, which runs at once."""
    more = {"program": program, "key": key, "job_type": job_type}
    changes = [moved(at + late, 3, was, became, lease, "w:8", **more) for late, was, became, lease in (
        (0, None, "pending", 0), (0.1, "pending", "running", 1), (0.4, "running", "completed", 1))]
    lines = asked(at - 0.1, key), asked(at + 0.1, key, "ok", 3), ran(at + 0.2, "started", 3, 1), ran(at + 0.3, "returned", 3, 1)
    rows = [*clean().rows, Row(3, "completed", 1, key)]
    return replace(with_changes(place, *changes), history=with_history(*lines).history, rows=rows)


def haunted(what: str) -> Event:
    """The second attempt of job 1 tried to renew the lease of the first."""
    return Event(3.05, "worker", "haunt", what, 1, 1, key="renewal", tag="w:1")


def without_lanes() -> Evidence:
    """The clean run whose jobs have no lane and are both claimed, and run, before either is over."""
    first, second = clean().changes[:7], clean().changes[7:]
    changes = [replace(change, job_type="plain") for change in (*first[:5], first[6], first[5], *second)]
    history = with_history(ran(3.05, "started", 2, 1), without=lambda event: (event.at, event.job) == (4, 2)).history
    return replace(clean(), history=history, changes=changes)


def with_a_job_that_goes_while_it_waits(*words: Event) -> Evidence:
    """The clean run with a job more that is deleted before anybody runs it."""
    return replace(
        with_changes(8, moved(5, 3, None, "pending", 0), moved(6, 3, "pending", None, 0)), history=with_history(*words).history
    )


PRUNED = moved(5, 2, "completed", None, 1)
CANCEL, CANCEL_DONE = operated(4.05, "cancel", "invoke", 2), operated(4.08, "cancel", "ok", 2)
LOST = "job 2 (b) was acknowledged and is gone"

PLANTED = {
    # lost
    "an acknowledged job is gone": ("G1", LOST, replace(clean(), rows=clean().rows[:1])),
    "a job is deleted before it is over": (
        "G1", LOST, replace(with_changes(6, moved(3.9, 2, "pending", None, 0), instead=2), rows=clean().rows[:1]),
    ),
    "a job's number was given to another": ("G1", LOST, replace(clean(), rows=[clean().rows[0], Row(2, "completed", 1, "c")])),
    "a job is run again and then gone": ("G1", LOST, replace(run_again(*retried(5)), rows=clean().rows[:1])),
    "a job is never run": (
        "G1", "job 2 (b) is still pending", replace(clean(), rows=[clean().rows[0], Row(2, "pending", 1, "b")]),
    ),
    "a job is cancelled while it runs, unasked": ("G1", "job 2 was cancelled as lease 1, and nobody had asked", cancelled()),
    "a job is cancelled before it runs, unasked": (
        "G1", "job 2 was cancelled as lease 0, and nobody had asked", cancelled(was="pending"),
    ),
    "another job's cancel": ("G1", "job 2 was cancelled", cancelled(replace(CANCEL, job=1), replace(CANCEL_DONE, job=1))),
    "a cancel that was refused": ("G1", "job 2 was cancelled", cancelled(CANCEL, replace(CANCEL_DONE, what="failed"))),
    "a cancel that was asked for later": ("G1", "job 2 was cancelled", cancelled(replace(CANCEL, at=4.5))),
    "a cancel in an earlier life": ("G1", "job 2 was cancelled as lease 2", cancelled_in_a_second_life(CANCEL, CANCEL_DONE)),
    "a cancel in a first life": (
        "G1", "job 2 was cancelled as lease 1", replace(
            run_again(*retried(5)),
            changes=[*clean().changes[:7], moved(4.2, 2, "running", "cancelled", 1, "w:3"),
                     moved(5.5, 2, "cancelled", "pending", 1, "w:3"), *run_again().changes[9:]]),
    ),
    "a cancel by a handler that wanted something else": (
        "G1", "job 2 was cancelled", cancelled(ran(4.1, "raised", 2, 1, "failed")),
    ),
    "a cancel by a handler that only lived": ("G1", "job 2 was cancelled", cancelled(ran(4.1, "alive", 2, 1))),
    "a cancel by a handler that had run before": (
        "G1", "job 2 was cancelled as lease 0", cancelled(ran(4.1, "raised", 2, 0, "cancelled"), was="pending"),
    ),
    "a failure with retries left": ("G1", "job 1 failed as lease 3, with 3 of 4 attempts spent", ended(*["failed"] * 3)),
    "a failure whose attempts did not count": (
        "G1", "failed as lease 6, with 2 of 4", ended("failed", "released", "snoozed", "crashed", "interrupted", "released"),
    ),
    "a failure after attempts of an earlier life": (
        "G1", "failed as lease 6, with 2 of 4", ended(*["failed"] * 6, retried_after=4),
    ),
    "a failure in a first life": ("G1", "failed as lease 1, with 1 of 4", ended(*["failed"] * 5, retried_after=1)),
    "a failure whose handler had given up long before": ("G1", "with 1 of 4", ended("gave_up", "failed", retried_after=1)),
    "a failure after twenty interruptions": ("G1", "with 0 of 4", ended(*["interrupted"] * 20)),
    # invented
    "a job nobody asked for": (
        "G2", "job 3 (c) was never asked for", replace(clean(), rows=[*clean().rows, Row(3, "completed", 1, "c")]),
    ),
    "a job nobody asked for that is gone again": (
        "G2", "job 3 (c) was never asked for", with_a_job_that_goes_while_it_waits(),
    ),
    "a job whose transaction was rolled back": (
        "G2", "job 2 (b) exists although its transaction was rolled back",
        with_history(asked(1.3, "b", "failed"), without=lambda each: each.key == "b" and each.what == "ok"),
    ),
    "half of a transaction": (
        "G2", "of the transaction 'g' only ['b'] of ['b', 'c'] are there",
        with_history(asked(1.2, "b", group="g"), asked(1.2, "c", group="g"), without=lambda each: each.key == "b"),
    ),
    "half of a transaction, the other half of which was refused before": (
        "G2", "of the transaction 'g' only ['b'] of ['b', 'c'] are there",
        with_history(asked(0.8, "c"), asked(0.9, "c", "failed"), asked(1.2, "b", group="g"), asked(1.2, "c", group="g"),
                     without=lambda each: each.key == "b"),
    ),
    "one key, two answers": ("G3", "key a stands for jobs [1, 2]", with_history(asked(1.4, "a", "ok", 2))),
    "one key, two rows": (
        "G3", "key b stands for jobs [2, 3]", replace(clean(), rows=[*clean().rows, Row(3, "completed", 1, "b")]),
    ),
    # overlapping leases
    "claimed while it runs": (
        "G5", "job 1 was claimed as lease 2 (w:9) while lease 1 ran",
        with_changes(3, moved(2.05, 1, "running", "running", 2, "w:9")),
    ),
    "claimed again under the same lease while it runs": (
        "G5", "job 1 was claimed as lease 1 (w:9) while lease 1 ran",
        with_changes(3, moved(2.05, 1, "running", "running", 1, "w:9")),
    ),
    "a lease given twice": (
        "G5", "job 1 was given lease 1 (w:2) after lease 1",
        with_changes(4, moved(2.9, 1, "pending", "running", 1, "w:2"), instead=1),
    ),
    "a lease left out": (
        "G5", "job 1 was given lease 3 (w:2) after lease 1",
        with_changes(4, moved(2.9, 1, "pending", "running", 3, "w:2"), instead=1),
    ),
    "a run under no lease at all": (
        "G5", "job 2 ran under lease 0 (), which was never granted", with_history(ran(1.5, "started", 2, 0)),
    ),
    "a run under a lease that nobody gave": (
        "G5", "job 2 ran under lease 2 (), which was never granted", with_history(ran(5, "started", 2, 2)),
    ),
    "a run under a tag that nobody gave": (
        "G5", "job 2 ran under lease 1 (w:9), which was never granted",
        with_history(replace(ran(4.05, "alive", 2, 1), tag="w:9")),
    ),
    "a superseded handler lives on": (
        "G8", "job 1: lease 1 (worker) was alive 0.050 s after lease 2", with_history(ran(3.05, "alive", 1, 1)),
    ),
    # overlapping lanes
    "two of a lane were claimed": (
        "G5", "lane program:1: job 2 was claimed while job 1 ran", with_changes(3, moved(2, 2, "pending", "running", 1, "w:3")),
    ),
    "three of a lane were claimed": (
        "G5", "lane program:1: job 3 was claimed while job 2 ran", with_changes(
            3, moved(2, 2, "pending", "running", 1, "w:3"), moved(2.2, 1, "running", "pending", 1, "w:1"),
            moved(2.3, 3, "pending", "running", 1, "w:8"), instead=1),
    ),
    "two of a lane ran": (
        "G5", "lane program:1: run (1, 2) was alive after (2, 1) had started", with_history(ran(4.05, "alive", 1, 2)),
    ),
    # changed final states
    "a move that nobody may make": (
        "G7", "job 2 went from completed to failed", with_changes(8, moved(5, 2, "completed", "failed", 1)),
    ),
    "a success without a claim": (
        "G7", "job 2 went from pending to completed", with_changes(6, moved(4.2, 2, "pending", "completed", 0), instead=2),
    ),
    "a job that was over from the beginning": (
        "G7", "job 2 went from nothing to completed", with_changes(1, moved(1.25, 2, None, "completed", 0), instead=1),
    ),
    "a job that is deleted while it waits": (
        "G7", "job 3 went from pending to nothing", with_a_job_that_goes_while_it_waits(asked(4.9, "c")),
    ),
    "a final state changes by itself": ("G7", "job 2 left completed for pending", run_again()),
    "another job's retry": ("G7", "job 2 left completed for pending", run_again(operated(5, "retry", "invoke", 1))),
    "a retry that was refused": ("G7", "job 2 left completed for pending", run_again(*retried(5, 5.6, "failed"))),
    "a retry that had been answered before": ("G7", "job 2 left completed for pending", run_again(*retried(5, 5.2))),
    "a retry that was asked for later": ("G7", "job 2 left completed for pending", run_again(*retried(5.8, 6))),
    "one retry for two lives": ("G7", "job 2 left completed for pending", run_again_twice(*retried(5))),
    # what superseded attempts write
    "a row under a superseded lease": (
        "G6", "job 1: lease 1 (None) wrote rows after", replace(clean(), effects=[Effect(1, 1, 4)]),
    ),
    "a row of one whose lease was given again": (
        "G6", "job 2: lease 1 (w:9) wrote rows after", replace(clean(), effects=[Effect(2, 1, 2, "w:9")]),
    ),
    "a row under no lease": ("G6", "job 1: lease 1 (None) wrote rows", replace(clean(), effects=[Effect(1, 1, 1)])),
    "a row when its lease was over": ("G6", "job 1: lease 1 (None) wrote rows", replace(clean(), effects=[Effect(1, 1, 3)])),
    "a row before everything": ("G6", "job 1: lease 1 (None) wrote rows after []", replace(clean(), effects=[Effect(1, 1, 0)])),
    "progress under a later lease": (
        "G6", "job 1: a progress written under lease 1 of w:1 stands while lease 2 of w:2 runs",
        with_writes(Write("progress", signature(1, "w:1"), 1, "running", 2, "w:2")),
    ),
    "a checkpoint under another's tag": (
        "G6", "job 1: a checkpoint \"written under lease 1 of w:1\" stands while lease 1 of w:11 runs",
        with_writes(Write("checkpoint", f'"{signature(1, "w:1")}"', 1, "running", 1, "w:11")),
    ),
    "progress of a job that waits": (
        "G6", "job 1: a progress was written while it was pending", with_writes(Write("progress", None, 1, "pending", 1)),
    ),
    "a renewal of a job that is over": (
        "G6", "job 1: a renewal was written while it was completed", with_writes(Write("renewal", None, 1, "completed", 2)),
    ),
    "a superseded attempt is let": ("G6", "job 1: a renewal of lease 1 (w:1), which was over, was accepted",
                                    with_history(haunted("invoke"), haunted("ok"))),
    "settled under another lease": (
        "G6", "job 1: lease 2 was ended as lease 1", with_changes(5, moved(3.3, 1, "running", "completed", 1, "w:1"), instead=1),
    ),
    "success that nobody earned": (
        "G6", "job 2 is completed under lease 1, whose handler never returned",
        with_history(without=lambda each: (each.job, each.what) == (2, "returned")),
    ),
    # second runs that nothing explains
    "a second run that nothing explains": (
        "G4", "job 1: lease 1 ran and went to pending, and nothing says why", replace(clean(), attempts=[]),
    ),
    "a cancelled run that nothing explains": (
        "G4", "job 2: lease 1 ran and went to cancelled, and nothing says why",
        replace(cancelled(CANCEL, CANCEL_DONE), attempts=clean().attempts),
    ),
    "a failure that nobody began and nothing explains": (
        "G4", "job 2: lease 1 never ran and failed, and nothing says why",
        replace(cancelled(was="pending"), changes=[*clean().changes[:7], moved(4.15, 2, "running", "failed", 1, "w:3")]),
    ),
    "a reason that says nothing": ("G4", "job 1: lease 1 failed, without a reason", kept_as(Attempt(1, 1, "failed", " "))),
    "an attempt ended twice": ("G4", "job 1: lease 1 was ended 2 times", replace(clean(), attempts=clean().attempts * 2)),
    "an attempt of a success": (
        "G4", "job 2: lease 1 completed, and is kept as crashed",
        kept_as(*clean().attempts, Attempt(2, 1, "crashed", "because")),
    ),
    "a failure that no handler had": (
        "G4", "job 1: lease 1 is kept as failed, its handler said ['snoozed']", kept_as(*clean().attempts, verdict="snoozed"),
    ),
    "a handler gave up that had failed": (
        "G4", "job 1: lease 1 is kept as gave_up, its handler said ['failed']", kept_as(Attempt(1, 1, "gave_up", "because")),
    ),
    "a handler put off that had failed": (
        "G4", "job 1: lease 1 is kept as snoozed, its handler said ['failed']", kept_as(Attempt(1, 1, "snoozed", "because")),
    ),
    "a failure of a handler that had not ended": (
        "G4", "job 1: lease 1 is kept as failed, its handler said []", with_history(without=lambda each: each.what == "raised"),
    ),
    "more attempts than were allowed": ("G4", "job 1 has 5 attempts that count, and was allowed 4", ended(*["crashed"] * 5)),
    # damage
    "damaged files": ("I7", "page 7 is torn (amcheck)", replace(clean(), inspection=Inspection("amcheck", ("page 7 is torn",)))),
}

PASSES = {
    "a clean run": clean(),
    "jobs of two lanes side by side": with_job_3(program=2, at=1.8, place=3),
    "a job without a lane while another runs": with_job_3(job_type="plain", at=1.8, place=3),
    "two jobs without a lane at once": without_lanes(),
    "a run that says its tag": with_history(replace(ran(4.05, "alive", 2, 1), tag="w:3")),
    "an operator's retry": run_again(*retried(5, 5.6)),
    "a retry whose answer nobody has": run_again(*retried(5)),
    "a retry whose answer was lost": run_again(*retried(5, 5.2, "unknown")),
    "a retry answered a moment before, by another clock": run_again(*retried(5, 5.48)),
    "a retry invoked a moment later, by another clock": run_again(*retried(5.52, 5.6)),
    "two retries, the long one second": run_again_twice(
        *retried(5), *(replace(each, actor="other") for each in retried(5.4, 5.6))
    ),
    "a transaction that never came, one key of which was taken": with_history(
        asked(1.35, "a", group="f"), asked(1.36, "a", "ok", 1, group="f"),
        asked(1.4, "a", group="g"), asked(1.4, "c", group="g"),
        without=lambda event: event.op == "enqueue" and event.key == "a",
    ),
    "a transaction that never came, one key of which may have been taken": with_history(
        asked(1, "a"), asked(1.1, "a", "unknown"), asked(1.4, "a", group="g"), asked(1.4, "c", group="g"),
        without=lambda event: event.op == "enqueue" and event.key == "a",
    ),
    "a job that never came and whose answer was lost": with_history(asked(1.4, "c"), asked(1.5, "c", "unknown")),
    "a transaction one job of which was pruned": replace(
        with_history(asked(1, "a", group="g"), asked(1, "b", group="g"), asked(1.1, "a", "ok", 1), asked(1.1, "b", "ok", 2),
                     without=lambda each: each.op == "enqueue"),
        changes=[*clean().changes, PRUNED], rows=clean().rows[:1],
    ),
    "a job that is pruned when it is over": replace(with_changes(8, PRUNED), rows=clean().rows[:1]),
    "a pruned job's key is used again": replace(
        with_job_3(at=6, key="b"),
        changes=[*clean().changes, PRUNED, *with_job_3(at=6, key="b").changes[8:]],
        rows=[clean().rows[0], Row(3, "completed", 1, "b")],
    ),
    "a pruned job's attempts are gone with it": replace(
        with_changes(6, moved(3.4, 1, "completed", None, 2)), rows=clean().rows[1:], attempts=[]),
    "a pruned job failed": replace(
        ended(*["failed"] * 4), rows=[], attempts=[], changes=[*ended(*["failed"] * 4).changes, moved(50, 1, "failed", None, 4)],
    ),
    "a job left over where there was no time": replace(clean(), rows=[clean().rows[0], Row(2, "pending", 1, "b")], drained=False),
    "a running job was cancelled by an operator": cancelled(CANCEL, CANCEL_DONE),
    "a waiting job was cancelled by an operator": cancelled(CANCEL, CANCEL_DONE, was="pending"),
    "a cancel whose answer nobody has": cancelled(CANCEL),
    "a cancel whose answer was lost": cancelled(CANCEL, replace(CANCEL_DONE, what="unknown")),
    "a cancel of long ago whose answer nobody has": cancelled_in_a_second_life(CANCEL),
    "a cancel invoked a moment later, by another clock": cancelled(replace(CANCEL, at=4.17)),
    "a cancel answered a moment before a life, by another clock": cancelled_in_a_second_life(
        replace(CANCEL, at=5.4), replace(CANCEL_DONE, at=5.48)
    ),
    "a cancel in a second life": cancelled_in_a_second_life(replace(CANCEL, at=6.05), replace(CANCEL_DONE, at=6.08)),
    "a job whose worker died after it was to be cancelled": cancelled(CANCEL, CANCEL_DONE, kept="crashed"),
    "a job that its handler cancelled": cancelled(ran(4.1, "raised", 2, 1, "cancelled")),
    "a job that raised what nobody wrote down": cancelled(ran(4.1, "raised", 2, 1)),
    "a job that failed as often as it may": ended("failed", "crashed", "timed_out", "failed"),
    "a job that failed as often as it may in each life": ended(*["failed"] * 8, retried_after=4),
    "a job without retries that failed": ended("timed_out", max_retries=0),
    "a job that gave up": ended("failed", "gave_up"),
    "a job that was interrupted too often": ended(*["interrupted"] * 21),
    "a job that was given back before anybody began": given_back(),
    "a superseded attempt that was refused": with_history(haunted("invoke"), haunted("failed")),
    "a failure of a handler that did not say how it ended": kept_as(*clean().attempts, verdict=""),
    "a handler that was told to stop and failed": kept_as(Attempt(1, 1, "timed_out", "because")),
    "a failure before its handler began": replace(
        with_history(without=lambda each: (each.op, each.job, each.lease) == ("run", 1, 1)), effects=clean().effects[1:]),
}
