"""What a handler may raise to say more than success or failure, and how whatever it raised becomes an outcome."""

from __future__ import annotations

import traceback

from backends import DatabaseUnavailable, Kind, LeaseLost, Outcome

from .slot import Cause


class RetryLater(Exception):
    """Run this job again after `after` seconds; spends no retry."""

    def __init__(self, after: float, reason: str = "") -> None:
        self.after = max(0.0, float(after))
        super().__init__(reason or f"asked to run again in {self.after:g} s")


class Cancel(Exception):
    """End this job as cancelled."""


class GiveUp(Exception):
    """End this job as failed at once; retrying would not help. The message is the reason."""


def outcome_of(error: BaseException) -> Outcome:
    """What an attempt came to whose handler raised `error`. Never raises, whatever the error's own methods do."""
    if isinstance(error, RetryLater):
        return Outcome(Kind.SNOOZED, _words(error), after=error.after)
    if isinstance(error, Cancel):
        return Outcome(Kind.CANCELLED, _words(error) or "cancelled by its handler")
    if isinstance(error, GiveUp):
        return Outcome(Kind.GAVE_UP, _words(error) or "gave up", _trace(error))
    if isinstance(error, LeaseLost | DatabaseUnavailable):
        return Outcome(Kind.INTERRUPTED, _named(error), backs_off=True)
    return Outcome(Kind.FAILED, _named(error), _trace(error))


def stopped(cause: Cause | None) -> Outcome:
    """What an attempt came to whose handler returned because it was told to stop; None stands for a drain."""
    if cause is Cause.DEADLINE:
        return Outcome(Kind.TIMED_OUT, "ran past its timeout")
    if cause is Cause.CANCEL:
        return Outcome(Kind.CANCELLED, "cancelled while it ran")
    if cause is Cause.LEASE:
        return Outcome(Kind.INTERRUPTED, "its lease could not be renewed")
    return Outcome(Kind.RELEASED, "given back by a draining worker")


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as second:
        return f"(its message could not be had: {type(second).__name__})"


def _named(error: BaseException) -> str:
    words = _words(error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _trace(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException as second:
        return f"(no traceback could be had: {type(second).__name__})"
