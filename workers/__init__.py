"""How one process turns claimed jobs into settled jobs; and the names a handler needs.

A handler is a function of one argument, a `JobContext`; it may raise `RetryLater`, `Cancel` or `GiveUp`. The supervisor
forks processes that call `run_worker`, and watches them through the slots of a `Board`.
"""

from .context import JobContext
from .handlers import HandlerProblem, HandlerSpec, resolve
from .readiness import readable
from .scrubbing import scrub
from .slot import (
    MOST_CLAIMS,
    Activity,
    Board,
    Cause,
    Claim,
    ClaimState,
    Order,
    Phase,
    Renewal,
    Slot,
    Wish,
    boot_time,
)
from .slot import (
    Cancel as CancelRequest,
)
from .verdicts import Cancel, GiveUp, RetryLater
from .worker import WorkerSettings, run_worker

__all__ = [
    "MOST_CLAIMS",
    "Activity",
    "Board",
    "Cancel",
    "CancelRequest",
    "Cause",
    "Claim",
    "ClaimState",
    "GiveUp",
    "HandlerProblem",
    "HandlerSpec",
    "JobContext",
    "Order",
    "Phase",
    "Renewal",
    "RetryLater",
    "Slot",
    "Wish",
    "WorkerSettings",
    "boot_time",
    "readable",
    "resolve",
    "run_worker",
    "scrub",
]
