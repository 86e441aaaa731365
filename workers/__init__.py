"""How one process turns claimed jobs into settled jobs; and the names a handler needs.

A handler is a function of one argument, a `JobContext`; it may raise `RetryLater`, `Cancel` or `GiveUp`.
"""

from .context import JobContext
from .verdicts import Cancel, GiveUp, RetryLater

__all__ = ["Cancel", "GiveUp", "JobContext", "RetryLater"]
