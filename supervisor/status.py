"""What a supervisor says of itself, as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from workers import Phase

from .crew import Crew, Place
from .liaison import Liaison


class State(StrEnum):
    """What a supervisor as a whole is doing."""

    STARTING = "starting"
    RUNNING = "running"
    QUIET = "quiet"
    DRAINING = "draining"
    CRASH_LOOP = "crash loop"
    STOPPED = "stopped"
    RESTARTING = "restarting"


def describe(
    facts: Mapping[str, Any], state: State, crew: Crew, liaison: Liaison, now: float, wall: datetime
) -> dict[str, Any]:
    """The content of the status file: the supervisor's own facts, its state, its workers, its maintenance."""
    child = liaison.child
    return {
        **facts,
        "state": state.value,
        "written_at": wall.astimezone(UTC).isoformat(),
        "workers_wanted": crew.wanted,
        "workers": [
            _worker(place, now) for place in crew.places if place.index < crew.wanted or place.worker is not None
        ],
        "maintenance": {"pid": child.pid if child else None, "deaths_unconfirmed": liaison.unconfirmed},
        "last_death": crew.last_reason or None,
    }


def _worker(place: Place, now: float) -> dict[str, Any]:
    activity = place.slot.activity
    worker = place.worker
    return {
        "slot": place.index,
        "process_id": place.process_id,
        "pid": worker.child.pid if worker else None,
        "phase": "backing off" if worker is None else Phase(activity.phase).name.lower(),
        "job_id": activity.job_id or None,
        "since": round(max(0.0, now - activity.since), 3),
        "restarts": place.restarts,
        "leaving": bool(worker and worker.asked_to_leave),
        "last_reason": place.last_reason or None,
    }
