"""What becomes of a job when an attempt ends: a pure function of the job's counters and the outcome."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .backoff import RetryPolicy, delay
from .job import Kind, Outcome, Status

MOST_INTERRUPTIONS = 20
"""A job interrupted more often than this without anybody's fault ends failed all the same."""

BETWEEN_INTERRUPTIONS = RetryPolicy(initial=0.5, factor=2.0, max=10.0, jitter="equal")
"""How long a job waits whose worker lived through the interruption, from the second on: a lock that somebody holds for long, say,
would use up all of them within moments."""

_SPENT = {Kind.FAILED, Kind.CRASHED, Kind.TIMED_OUT}
_INTERRUPTED = {Kind.INTERRUPTED}


@dataclass(frozen=True, slots=True)
class Counters:
    """What is known of the job when its attempt ends."""

    retry_count: int
    max_retries: int
    interruptions: int
    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """The job's next status. `after` is seconds until it may run again; meaningless unless it is pending."""

    status: Status
    retry_count: int
    interruptions: int
    after: float = 0.0
    error: str | None = None


def decide(counters: Counters, outcome: Outcome, policy: RetryPolicy, random: Random) -> Decision:
    """What becomes of the job.

    A failure, a crash and a passed deadline each spend one retry; the first crash runs again at once. Being released or
    snoozed spends nothing; an interruption counts apart, up to `MOST_INTERRUPTIONS`, and runs again at once, or after a while
    if the outcome `backs_off` and it is not the first.
    """
    kept = (counters.retry_count, counters.interruptions)
    if outcome.kind is Kind.COMPLETED:
        return Decision(Status.COMPLETED, *kept)
    if outcome.kind is Kind.CANCELLED or counters.cancel_requested:
        return Decision(Status.CANCELLED, *kept, error=outcome.reason or "cancelled")
    if outcome.kind is Kind.GAVE_UP:
        return Decision(Status.FAILED, *kept, error=outcome.reason)
    if outcome.kind in _SPENT:
        return _spend_a_retry(counters, outcome, policy, random)
    if outcome.kind in _INTERRUPTED:
        return _count_an_interruption(counters, outcome, random)
    return Decision(Status.PENDING, *kept, after=outcome.after)


def _spend_a_retry(counters: Counters, outcome: Outcome, policy: RetryPolicy, random: Random) -> Decision:
    if counters.retry_count >= counters.max_retries:
        return Decision(Status.FAILED, counters.retry_count, counters.interruptions, error=outcome.reason)
    spent = counters.retry_count + 1
    first_crash = outcome.kind is Kind.CRASHED and spent == 1
    after = 0.0 if first_crash else delay(policy, spent, random)
    return Decision(Status.PENDING, spent, counters.interruptions, after, error=outcome.reason)


def _count_an_interruption(counters: Counters, outcome: Outcome, random: Random) -> Decision:
    interruptions = min(counters.interruptions, MOST_INTERRUPTIONS) + 1
    if interruptions > MOST_INTERRUPTIONS:
        reason = f"interrupted {interruptions} times, last: {outcome.reason}"
        return Decision(Status.FAILED, counters.retry_count, interruptions, error=reason)
    waits = outcome.backs_off and interruptions > 1
    after = delay(BETWEEN_INTERRUPTIONS, interruptions - 1, random) if waits else 0.0
    return Decision(Status.PENDING, counters.retry_count, interruptions, after, error=outcome.reason)
