"""What a handler may raise to say more than success or failure."""

from __future__ import annotations


class RetryLater(Exception):
    """Run this job again after `after` seconds; spends no retry."""

    def __init__(self, after: float, reason: str = "") -> None:
        super().__init__(reason or f"asked to run again in {after:g} s")
        self.after = after


class Cancel(Exception):
    """End this job as cancelled."""


class GiveUp(Exception):
    """End this job as failed at once; retrying would not help. The message is the reason."""
