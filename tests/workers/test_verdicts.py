"""Verdicts: whatever a handler raises becomes an outcome, and nothing it raises can break that."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from backends import DatabaseUnavailable, Kind, LeaseLost
from workers import Cancel, Cause, GiveUp, RetryLater
from workers.verdicts import outcome_of, stopped


class Unspeakable(Exception):
    """Nothing about it can be asked."""

    def __str__(self) -> str:
        raise SystemExit("never")

    __repr__ = __str__




@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (ValueError("no"), Kind.FAILED, "ValueError: no"),
        (ValueError(), Kind.FAILED, "ValueError"),
        (SystemExit(), Kind.FAILED, "SystemExit"),
        (SystemExit(3), Kind.FAILED, "SystemExit: 3"),
        (KeyboardInterrupt(), Kind.FAILED, "KeyboardInterrupt"),
        (GeneratorExit(), Kind.FAILED, "GeneratorExit"),
        (ExceptionGroup("two", [ValueError("a"), TypeError("b")]), Kind.FAILED, "ExceptionGroup: two (2 sub-exceptions)"),
        (Cancel(), Kind.CANCELLED, "cancelled by its handler"),
        (Cancel("folder removed"), Kind.CANCELLED, "folder removed"),
        (GiveUp("no access"), Kind.GAVE_UP, "no access"),
        (GiveUp(), Kind.GAVE_UP, "gave up"),
        (RetryLater(5), Kind.SNOOZED, "asked to run again in 5 s"),
        (RetryLater(5, "rate limited"), Kind.SNOOZED, "rate limited"),
        (LeaseLost("gone"), Kind.INTERRUPTED, "LeaseLost: gone"),
        (DatabaseUnavailable("down"), Kind.INTERRUPTED, "DatabaseUnavailable: down"),
        (Unspeakable(), Kind.FAILED, "Unspeakable: (its message could not be had: SystemExit)"),
    ],
)
def test_each_error_has_its_outcome(error: BaseException, kind: Kind, reason: str) -> None:
    outcome = outcome_of(error)
    assert (outcome.kind, outcome.reason, outcome.backs_off) == (kind, reason, kind is Kind.INTERRUPTED)


def test_a_failure_keeps_its_traceback() -> None:
    try:
        raise ValueError("deep down")
    except ValueError as error:
        detail = outcome_of(error).detail
    assert "test_verdicts.py" in detail
    assert detail.rstrip().endswith("ValueError: deep down")


@pytest.mark.parametrize(("after", "waits"), [(0, 0.0), (5, 5.0), (-3, 0.0), (float("nan"), 0.0), ("2.5", 2.5)])
def test_a_snooze_is_never_negative(after: Any, waits: float) -> None:
    assert outcome_of(RetryLater(after)).after == waits


@pytest.mark.parametrize("after", ["soon", None, timedelta(minutes=5), object()])
def test_a_snooze_that_is_no_number_is_an_error_where_it_is_raised(after: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        RetryLater(after, "rate limited")


def test_an_error_in_ten_thousand_frames_still_has_an_outcome() -> None:
    def deeper() -> None:
        deeper()

    with pytest.raises(RecursionError) as caught:
        deeper()
    assert outcome_of(caught.value).kind is Kind.FAILED


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (Cause.DEADLINE, Kind.TIMED_OUT),
        (Cause.CANCEL, Kind.CANCELLED),
        (Cause.LEASE, Kind.INTERRUPTED),
        (Cause.NONE, Kind.RELEASED),
        (None, Kind.RELEASED),
    ],
)
def test_a_handler_that_returned_when_told_ends_for_the_cause(cause: Cause | None, kind: Kind) -> None:
    assert stopped(cause).kind is kind
