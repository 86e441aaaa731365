"""What is written about a dead worker: a pure function of its slot's last words, how it ended, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backends import Death, Kind
from workers import Activity, Claim, Phase

from .children import Ending
from .limits import Ground, Verdict

_KINDS = {
    Ground.DEADLINE: Kind.TIMED_OUT,
    Ground.FENCED: Kind.TIMED_OUT,
    Ground.CANCEL: Kind.CANCELLED,
    Ground.LEASE: Kind.INTERRUPTED,
    Ground.LEASE_LOST: Kind.INTERRUPTED,
    Ground.DATABASE: Kind.INTERRUPTED,
    Ground.SILENT: Kind.INTERRUPTED,
    Ground.DRAIN: Kind.RELEASED,
    Ground.STOPPED: Kind.CRASHED,
}
"""Whose fault each ground is: a deadline and a crash are the job's and spend a retry, the others are not."""

_WITH_A_JOB = (Phase.RUNNING, Phase.FENCED, Phase.SETTLING, Phase.DATABASE)


@dataclass(frozen=True, slots=True)
class Burial:
    """One dead worker. `death` is what the database must learn; `had_a_job` keeps the death out of the crash-loop budget."""

    process_id: str
    pid: int
    reason: str
    death: Death
    had_a_job: bool


def bury(
    process_id: str,
    pid: int,
    activity: Activity,
    claims: Sequence[Claim],
    ending: Ending,
    verdict: Verdict | None,
    out_of_memory: bool,
) -> Burial:
    """Say why a worker died and what becomes of the job it had in hand.

    A death without a verdict is its own doing or a stranger's: the job is charged, exit code 0 included, for a worker
    never leaves with a job in hand. A verdict on another job than the one in hand charges nobody. Who dies while it settles
    may die of something that one of those jobs left behind, and nobody knows which: all are interrupted, and then held alone.
    """
    in_hand = bool(activity.job_id) and activity.phase in _WITH_A_JOB
    kind = Kind.CRASHED
    reason = _last_words(ending, out_of_memory)
    if verdict is not None:
        kind = _KINDS.get(verdict.ground, Kind.CRASHED)
        reason = verdict.reason
        if verdict.job_id and verdict.job_id != activity.job_id:
            kind, reason = Kind.RELEASED, f"its worker was stopped because of job {verdict.job_id}"
    tags = tuple(f"{process_id}:{claim.nonce.decode()}" for claim in claims)
    job_id, lease = (activity.job_id, activity.lease) if in_hand else (0, 0)
    settling = activity.phase == Phase.SETTLING
    told_to_leave = verdict is not None and verdict.ground is Ground.DRAIN
    neighbours = Kind.INTERRUPTED if settling and not told_to_leave else Kind.RELEASED
    death = Death(tags, job_id, lease, kind, reason, pid=pid, neighbours=neighbours)
    return Burial(process_id, pid, reason, death, in_hand or settling)


def _last_words(ending: Ending, out_of_memory: bool) -> str:
    if out_of_memory:
        return f"the worker ran out of memory and was killed by {ending}"
    verb = "was killed by" if ending.signal else "left with"
    return f"the worker {verb} {ending}"


def as_message(death: Death) -> dict[str, Any]:
    """A death as plain JSON values."""
    return {
        "tags": list(death.tags),
        "job_id": death.job_id,
        "lease": death.lease,
        "kind": death.kind.value,
        "reason": death.reason,
        "detail": death.detail,
        "pid": death.pid,
        "neighbours": death.neighbours.value,
    }


def from_message(message: dict[str, Any]) -> Death:
    """The death that `as_message` wrote down."""
    return Death(
        tags=tuple(message["tags"]),
        job_id=message["job_id"],
        lease=message["lease"],
        kind=Kind(message["kind"]),
        reason=message["reason"],
        detail=message["detail"],
        pid=message["pid"],
        neighbours=Kind(message["neighbours"]),
    )
