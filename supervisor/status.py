"""What a supervisor says of itself, as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from config import Loaded
from workers import Phase

from .crew import Crew, Place
from .liaison import Liaison
from .plan import Identity
from .serving import Serving


class State(StrEnum):
    """What a supervisor as a whole is doing."""

    STARTING = "starting"
    RUNNING = "running"
    QUIET = "quiet"
    RESTING = "resting"
    DRAINING = "draining"
    CRASH_LOOP = "crash loop"
    STOPPED = "stopped"
    RESTARTING = "restarting"


def facts_of(loaded: Loaded, identity: Identity) -> dict[str, Any]:
    """Who the supervisor is, and which configuration it follows."""
    return {
        "id": identity.id,
        "pid": identity.pid,
        "host": identity.host,
        "started_at": identity.started_at.isoformat(),
        "config": str(loaded.path),
        "config_hash": loaded.digest,
    }


def describe(
    facts: Mapping[str, Any], state: State, crew: Crew, liaison: Liaison, serving: Serving, now: float, wall: datetime
) -> dict[str, Any]:
    """The content of the status file: the supervisor's own facts, its state, its workers, its maintenance, its API."""
    child = liaison.child
    return {
        **facts,
        "state": state.value,
        "written_at": wall.astimezone(UTC).isoformat(),
        "workers_wanted": crew.wanted,
        "workers": [
            _worker(place, state, now) for place in crew.places if place.index < crew.wanted or place.worker is not None
        ],
        "maintenance": {"pid": child.pid if child else None, "deaths_unconfirmed": liaison.unconfirmed},
        "api": serving.as_dict(),
        "last_death": crew.last_reason or None,
    }


def without_times(status: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a status that changes only when something happened."""
    workers = [{**worker, "since": 0} for worker in status.get("workers", [])]
    return {**status, "written_at": "", "workers": workers}


def _worker(place: Place, state: State, now: float) -> dict[str, Any]:
    activity = place.slot.activity
    worker = place.worker
    absent = "resting" if state is State.RESTING else "backing off"
    return {
        "slot": place.index,
        "process_id": place.process_id,
        "pid": worker.child.pid if worker else None,
        "phase": absent if worker is None else Phase(activity.phase).name.lower(),
        "job_id": activity.job_id or None,
        "since": round(max(0.0, now - activity.since), 3),
        "restarts": place.restarts,
        "leaving": bool(worker and worker.asked_to_leave),
        "last_reason": place.last_reason or None,
    }
