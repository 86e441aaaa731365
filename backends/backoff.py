"""How long a failed job waits before it runs again: pure functions of their arguments."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

JITTERS = ("none", "equal", "full")
SHAPES = ("none", "constant", "linear", "exponential")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how late a job type is retried. `initial` and `max` are seconds."""

    max_retries: int = 3
    backoff: str = "exponential"
    initial: float = 10.0
    factor: float = 2.0
    max: float = 3600.0
    jitter: str = "full"


def ceiling(policy: RetryPolicy, retry_number: int) -> float:
    """The longest wait in seconds before retry `retry_number` (1 is the first)."""
    if policy.backoff == "none":
        return 0.0
    if policy.backoff == "constant":
        return min(policy.initial, policy.max)
    if policy.backoff == "linear":
        return min(policy.initial * retry_number, policy.max)
    growth: float = policy.factor ** min(retry_number - 1, 64)
    return min(policy.initial * growth, policy.max)


def delay(policy: RetryPolicy, retry_number: int, random: Random) -> float:
    """Seconds to wait before retry `retry_number`: the ceiling, spread by the policy's jitter.

    `full` draws from zero to the ceiling, `equal` from half of it (AWS Architecture Blog, "Exponential backoff and jitter").
    """
    longest = ceiling(policy, retry_number)
    if policy.jitter == "full":
        return random.uniform(0.0, longest)
    if policy.jitter == "equal":
        return random.uniform(longest / 2, longest)
    return longest
