"""What is known of the supervisors of one configuration: what the local one says itself, and what the database heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .wording import span

if TYPE_CHECKING:
    from backends import Counts, SupervisorView

NOT_READY = frozenset({"starting", "backing off", "empty"})
"""Phases in which a worker cannot claim."""

SILENCE_ALLOWED = 10.0
"""A local supervisor writes its status each second; older than this, it hangs."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look saw. `local` is the status file of a running local supervisor; `problem` why the database was not seen."""

    local: Mapping[str, Any] | None
    others: Sequence[SupervisorView]
    counts: Counts | None
    now: datetime
    problem: str = ""

    @property
    def running(self) -> bool:
        """Whether a supervisor runs anywhere."""
        return self.local is not None or bool(self.others)

    @property
    def supervisors(self) -> list[dict[str, Any]]:
        """Each running supervisor as plain values, the local one first and in its own words."""
        remote = [_described(each) for each in self.others if not (self.local and each.id == self.local.get("id"))]
        return ([dict(self.local)] if self.local else []) + remote

    @property
    def reasons(self) -> list[str]:
        """Everything that makes this unhealthy; empty when it is healthy."""
        found = [self.problem] if self.problem else []
        if not self.running:
            return [*found, "no supervisor is running"]
        if self.local:
            found += _silence(self.local, self.now)
        return found + [reason for each in self.supervisors for reason in _illness(each)]

    def as_dict(self) -> dict[str, Any]:
        """All of it for JSON."""
        queue = asdict(self.counts) if self.counts else None
        if queue and self.counts and self.counts.oldest_pending:
            queue["oldest_pending"] = self.counts.oldest_pending.as_dict()
        reasons = self.reasons
        return {
            "running": self.running,
            "healthy": not reasons,
            "reasons": reasons,
            "supervisors": self.supervisors,
            "queue": queue,
        }


def _described(view: SupervisorView) -> dict[str, Any]:
    own = {"id": view.id, "host": view.host, "pid": view.pid, "started_at": view.started_at.isoformat()}
    return {**view.status, **own, "job_types": sorted(view.job_types), "seen_seconds_ago": round(view.age, 1)}


def _silence(local: Mapping[str, Any], now: datetime) -> list[str]:
    silent = (now - datetime.fromisoformat(local["written_at"])).total_seconds()
    return (
        [f"supervisor pid {local['pid']} has written no status for {span(silent)}"] if silent > SILENCE_ALLOWED else []
    )


def _illness(supervisor: Mapping[str, Any]) -> list[str]:
    name = f"{supervisor['host']} pid {supervisor['pid']}"
    if supervisor.get("state") == "crash loop":
        return [f"{name}: crash loop, last: {supervisor.get('last_death')}"]
    if supervisor.get("state") in ("starting", "restarting"):
        return [f"{name}: is {supervisor['state']}"]
    workers = supervisor.get("workers")
    is_resting = supervisor.get("state") == "resting"
    if workers is not None and not is_resting and not any(worker["phase"] not in NOT_READY for worker in workers):
        return [f"{name}: no worker is ready"]
    return []
