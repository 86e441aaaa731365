"""What a promoted replica may have forgotten is excused within its window alone, and counted; nothing else is."""

from __future__ import annotations

from dataclasses import replace

from backends import Status

from .checker import Evidence, check
from .forgetting import AFTERLIFE, Window, forgive
from .history import Event
from .planted import asked, clean, haunted, moved, ran, with_changes, with_history


def runs_under_a_forgotten_claim(at: float, until: float) -> list[Event]:
    """Job 2 was claimed and run before; the database remembers only that it is pending."""
    return [replace(ran(moment, what, 2, 1), tag="w:0") for moment, what in ((at, "started"), (until, "alive"))]


def without_job_2() -> Evidence:
    """Job 2 is gone, with all that was recorded of it."""
    rest = with_history(without=lambda event: event.op == "run" and event.job == 2)
    changes = [change for change in rest.changes if change.job != 2]
    return replace(rest, rows=rest.rows[:1], changes=changes, effects=rest.effects[:2])


def test_a_job_acknowledged_within_the_window_is_counted_as_lost() -> None:
    evidence, losses = forgive(without_job_2(), [Window(1.25, 1.45, 1.5)])
    assert check(evidence) == []
    assert (losses.acknowledged, round(losses.oldest, 2)) == (1, 0.15)


def test_a_job_acknowledged_before_or_after_the_window_stays_a_violation() -> None:
    for window in (Window(1.35, 1.5, 1.5), Window(1.0, 1.25, 1.25), Window(1.0, 1.25, 1.5)):
        evidence, losses = forgive(without_job_2(), [window])
        assert "G1" in {violation.promise for violation in check(evidence)}
        assert losses.acknowledged == 0


def test_a_lost_job_whose_number_was_given_again_is_counted_as_lost() -> None:
    evidence, losses = forgive(with_history(asked(1.4, "c"), asked(1.41, "c", "ok", 2)), [Window(1.35, 1.5, 1.5)])
    assert check(evidence) == []
    assert losses.acknowledged == 1


def test_a_run_under_a_forgotten_claim_may_end_late_but_not_live_on() -> None:
    soon = with_history(*runs_under_a_forgotten_claim(3.5, 4.05))
    assert check(soon) != []
    evidence, losses = forgive(soon, [Window(3.4, 3.6, 3.6)])
    assert check(evidence) == []
    assert (losses.claims, round(losses.afterlife, 2)) == (1, 0.45)
    late = with_history(*runs_under_a_forgotten_claim(3.5, 3.7 + AFTERLIFE))
    assert check(forgive(late, [Window(3.4, 3.6, 3.6)])[0]) != []


def test_a_forgotten_attempt_may_write_in_the_name_of_one_whose_end_was_forgotten_but_nobody_else() -> None:
    let = with_history(haunted("invoke"), haunted("ok"))
    assert check(forgive(let, [Window(3, 3.1, 3.1)])[0]) == []
    assert "G6" in {violation.promise for violation in check(forgive(let, [Window(4, 4.1, 4.1)])[0])}


def test_a_success_that_was_forgotten_is_counted_and_the_job_may_run_again() -> None:
    again = with_changes(
        7, moved(4.4, 2, "running", "pending", 1, "w:3"), moved(4.5, 2, "pending", "running", 2, "w:4"),
        moved(4.6, 2, "running", "completed", 2, "w:4"), instead=1,
    )
    runs = [replace(ran(at, what, 2, 1), tag="w:3") for at, what in ((4.2, "started"), (4.3, "returned"))]
    evidence, losses = forgive(replace(again, history=[*again.history, *runs]), [Window(4.25, 4.5, 4.5)])
    assert losses.successes == 1
    assert "G1" not in {violation.promise for violation in check(evidence)}
    assert clean().rows[1].status == Status.COMPLETED
