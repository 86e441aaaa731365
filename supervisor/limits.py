"""How long a worker may stay in each phase, and what it is overdue for: pure functions of their arguments."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from workers import Activity, CancelRequest, Cause, Phase

NEVER = float("inf")
NOTHING_TO_CANCEL = CancelRequest(0, 0, 0.0)


class Ground(StrEnum):
    """On what ground the supervisor ends a worker, or the job it runs."""

    DEADLINE = "deadline"
    CANCEL = "cancel"
    LEASE = "lease"
    LEASE_LOST = "lease lost"
    DRAIN = "drain"
    STOPPED = "stopped too long"
    NOT_READY = "not ready"
    SILENT = "silent"
    DATABASE = "database"
    FENCED = "fenced transaction"


GENTLE = {Ground.DEADLINE: Cause.DEADLINE, Ground.CANCEL: Cause.CANCEL}
"""Grounds on which the handler is told first, with this cause, and given a grace to end by itself."""


@dataclass(frozen=True, slots=True)
class Limits:
    """All in seconds."""

    lock_timeout: float
    heartbeat_interval: float
    poll_interval: float
    ready_timeout: float

    @property
    def lease(self) -> float:
        """How long after its last renewal a claim may be worked on; the rest of `lock_timeout` is there to kill the worker."""
        return self.lock_timeout - self.heartbeat_interval

    @property
    def patience(self) -> float:
        """How long a process may be stopped, give no sign of life, or hold a fenced transaction."""
        return self.lock_timeout / 3

    @property
    def grace(self) -> float:
        """How long a handler that was told to stop may take before it is killed."""
        return min(5.0, self.lock_timeout / 6)

    @property
    def look(self) -> float:
        """How often somebody must look, so that every limit is kept to a small part of itself."""
        return min(0.25, self.heartbeat_interval / 4)


@dataclass(frozen=True, slots=True)
class Sight:
    """What the supervisor sees of one worker. Moments are seconds of `boot_time()`; `NEVER` for what did not happen.

    `tick_at` is when its tick was last seen to change, `awake_since` when this supervisor last came back from a gap: what
    happened in a gap nobody watched, so waiting is counted from its end at the earliest.
    """

    activity: Activity
    fenced_at: float = NEVER
    gone_since: float = NEVER
    cancel: CancelRequest = NOTHING_TO_CANCEL
    tick_at: float = 0.0
    stopped_since: float = NEVER
    awake_since: float = 0.0


class Verdict(NamedTuple):
    """What a worker is overdue for, in words for the job's record, and the job and lease it is about (0: the worker itself)."""

    ground: Ground
    reason: str
    job_id: int = 0
    lease: int = 0


def judge(sight: Sight, limits: Limits, now: float) -> Verdict | None:
    """What a worker is overdue for, the gravest first; None while all is well."""
    return _fenced(sight, limits, now) or _stopped(sight, limits, now) or _job(sight, now) or _phase(sight, limits, now)


def lease_ran_out(sight: Sight, limits: Limits) -> Verdict:
    """That nobody could renew its lease, and so nobody may let it live."""
    return _about_job(sight, Ground.LEASE, f"its lease could not be renewed for {limits.lease:g} s")


def _fenced(sight: Sight, limits: Limits, now: float) -> Verdict | None:
    if now >= sight.fenced_at:
        return lease_ran_out(sight, limits)
    if _in_handler(sight) and now >= sight.gone_since + limits.heartbeat_interval / 2:
        return _about_job(sight, Ground.LEASE_LOST, "its lease was taken over by somebody else")
    return None


def _stopped(sight: Sight, limits: Limits, now: float) -> Verdict | None:
    if now - max(sight.stopped_since, sight.awake_since) < limits.patience:
        return None
    return _about_job(sight, Ground.STOPPED, f"the worker was stopped (process state T) for {limits.patience:g} s")


def _job(sight: Sight, now: float) -> Verdict | None:
    activity = sight.activity
    if not _in_handler(sight):
        return None
    if activity.deadline and now >= activity.deadline:
        return _about_job(sight, Ground.DEADLINE, "ran past its timeout")
    if activity.job_id and (sight.cancel.job_id, sight.cancel.lease) == (activity.job_id, activity.lease):
        return _about_job(sight, Ground.CANCEL, "cancelled while it ran")
    return None


def _phase(sight: Sight, limits: Limits, now: float) -> Verdict | None:
    waited = now - max(sight.activity.since, sight.awake_since)
    silent = now - max(sight.tick_at, sight.activity.since, sight.awake_since)
    match sight.activity.phase:
        case Phase.STARTING if waited >= limits.ready_timeout:
            return Verdict(Ground.NOT_READY, f"was not ready within {limits.ready_timeout:g} s")
        case Phase.IDLE if silent >= limits.patience + limits.poll_interval:
            return Verdict(Ground.SILENT, f"gave no sign of life for {silent:.1f} s while idle")
        case Phase.FENCED if waited >= limits.patience:
            return _transaction(sight, limits, waited, now)
        case Phase.DATABASE | Phase.SETTLING if waited >= limits.lock_timeout:
            return _about_job(sight, Ground.DATABASE, f"hung in a database call for {waited:.1f} s")
    return None


def _transaction(sight: Sight, limits: Limits, waited: float, now: float) -> Verdict | None:
    """The database is given its time for what was asked before the handler's was over; then it is to blame, not the handler."""
    asked_at = sight.activity.asked_at
    if not asked_at or asked_at >= sight.activity.since + limits.patience:
        return _about_job(sight, Ground.FENCED, f"held a fenced transaction open for {waited:.1f} s")
    silent = now - max(asked_at, sight.awake_since)
    if silent < limits.patience or sight.stopped_since != NEVER:
        return None  # a stopped worker does not hear the answer: it is judged for having been stopped
    return _about_job(sight, Ground.DATABASE, f"had no answer of the database for {silent:.1f} s in a fenced transaction")


def _in_handler(sight: Sight) -> bool:
    return sight.activity.phase in (Phase.RUNNING, Phase.FENCED)


def _about_job(sight: Sight, ground: Ground, reason: str) -> Verdict:
    return Verdict(ground, reason, sight.activity.job_id, sight.activity.lease)
