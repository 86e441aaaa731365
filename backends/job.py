"""What a job is: its statuses, the moves between them, and what an attempt can come to.

Everything here is data and pure functions of their arguments; nothing here speaks to a database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple


class Status(StrEnum):
    """The five statuses a job can have; stored as these words in `indexing_jobs.status`."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


class Move(NamedTuple):
    """One legal change of status: from where, to where, and the verb that makes it."""

    before: Status
    after: Status
    verb: str


MOVES: tuple[Move, ...] = (
    Move(Status.PENDING, Status.RUNNING, "claim"),
    Move(Status.PENDING, Status.CANCELLED, "cancel"),
    Move(Status.RUNNING, Status.COMPLETED, "settle"),
    Move(Status.RUNNING, Status.FAILED, "settle"),
    Move(Status.RUNNING, Status.CANCELLED, "settle"),
    Move(Status.RUNNING, Status.PENDING, "settle"),
    Move(Status.RUNNING, Status.PENDING, "release"),
    Move(Status.RUNNING, Status.PENDING, "reclaim"),
    Move(Status.RUNNING, Status.FAILED, "reclaim"),
    Move(Status.RUNNING, Status.CANCELLED, "reclaim"),
    Move(Status.FAILED, Status.PENDING, "retry"),
    Move(Status.CANCELLED, Status.PENDING, "retry"),
    Move(Status.COMPLETED, Status.PENDING, "retry"),
)
"""Every legal move. The statements' conditions, the state diagram in the docs and a test are derived from this table."""


def legal_before(after: Status, verb: str) -> frozenset[Status]:
    """The statuses from which `verb` may move a job to `after`."""
    return frozenset(move.before for move in MOVES if move.after is after and move.verb == verb)


class Job(NamedTuple):
    """A claimed job, as its worker sees it. Times are aware datetimes; `parameters` are decoded on first use.

    `holds_secrets`: true while secrets of the job are kept, false when they were deleted, None when there never were any.
    """

    id: int
    lease: int
    job_type: str
    program_id: int
    user_id: int | None
    folder_id: str | None
    lane: str | None
    priority: int
    retry_count: int
    max_retries: int
    interruptions: int
    created_at: datetime
    job_parameters: str | None
    checkpoint: str | None
    holds_secrets: bool | None = None
    scheduled_at: datetime | None = None
    started_at: datetime | None = None

    @property
    def waited(self) -> float:
        """Seconds from when it could have run, had a worker and its lane been free, to this claim; by the database's clock."""
        if self.started_at is None:
            return 0.0
        since = self.created_at if self.scheduled_at is None else max(self.created_at, self.scheduled_at)
        return max(0.0, (self.started_at - since).total_seconds())

    @property
    def parameters(self) -> dict[str, Any]:
        """The job's parameters; an empty mapping when there are none. Raises `BadParameters` when they are not a JSON object."""
        return decoded_parameters(self.id, self.job_parameters)


LARGEST_CLAIMED = 10_000_000
"""Bytes of parameters with which a job can run that another program put into the table; larger ones are never read."""

_LEFT_OUT = re.compile(r"\[([0-9]+) bytes\]")
"""What a claim brings in their place."""


def decoded_parameters(job_id: int, text: str | None) -> dict[str, Any]:
    """The parameters that a job's row holds as text. Raises `BadParameters`."""
    if not text:
        return {}
    if left_out := _LEFT_OUT.fullmatch(text):
        raise BadParameters(f"job {job_id}: job_parameters take {left_out[1]} bytes; at most {LARGEST_CLAIMED} are read")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadParameters(f"job {job_id}: job_parameters is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadParameters(f"job {job_id}: job_parameters must be a JSON object, not {type(value).__name__}")
    return value


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a caller asks for. `scheduled_at` must be aware; `parameters` must be JSON; a `unique_key` makes repeats harmless."""

    job_type: str
    program_id: int
    user_id: int | None = None
    folder_id: str | None = None
    priority: int = 0
    max_retries: int | None = None
    scheduled_at: datetime | None = None
    unique_key: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


class Kind(StrEnum):
    """What an attempt came to. The word is kept in `jobqueue_job_attempts.outcome`."""

    COMPLETED = "completed"
    FAILED = "failed"            # the handler raised
    GAVE_UP = "gave_up"          # the handler said that retrying is useless
    CRASHED = "crashed"          # the worker died while it ran this job
    TIMED_OUT = "timed_out"      # the job's deadline passed
    CANCELLED = "cancelled"      # somebody asked, and the attempt ended for it
    SNOOZED = "snoozed"          # the handler asked to run again later
    RELEASED = "released"        # given back before it was started, or by a drain
    INTERRUPTED = "interrupted"  # lost host, database outage, self-fencing: nobody's fault


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended. `after` is seconds until the job may run again (snoozed only); `detail` may hold a traceback.

    `backs_off`: an interruption that the worker lived through, so that nothing but the job's own wait puts off the next attempt.
    """

    kind: Kind
    reason: str = ""
    detail: str = ""
    after: float = 0.0
    backs_off: bool = False


class LeaseLost(Exception):
    """The attempt that writes is not the one that holds the job any more; nothing was changed."""


class BadParameters(ValueError):
    """A job's parameters cannot be stored or read; the message says why."""


class DatabaseUnavailable(Exception):
    """The database cannot be reached or did not answer in time; nothing is known to be wrong with the request."""


class SchemaMismatch(Exception):
    """The database's schema is older, newer or not ours; the message says which and what to do."""
