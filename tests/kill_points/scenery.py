"""What all paths share: job types, a prepared database, and the configuration of whoever works on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import Engine

from backends import JobTypeFacts, Queue, add_key, open_engine, upgrade
from tests.chaos import witness

from .databases import Place

LANES = {"plain": None, "laned": "program:{program_id}"}
HANDLER = "tests.kill_points.handlers:planned"


def prepare(place: Place) -> Engine:
    """Make the schema, have the database watch itself, make a key and the job types known; returns an engine."""
    if not place.keys.exists():
        add_key(place.keys)
    engine = open_engine(place.url, key_file=place.keys)
    upgrade(engine)
    witness.install(engine)
    Queue(engine).register({name: JobTypeFacts(lane) for name, lane in LANES.items()}, "nobody")
    return engine


def write_config(place: Place, url: str, **settings: Any) -> Path:
    """The configuration file of a supervisor of this database."""
    types = {name: {"handler": HANDLER} | ({"lane": lane} if lane else {}) for name, lane in LANES.items()}
    written = {
        "database_url": url, "workers": {"count": 1, "process_ids": ["one-1"]}, "extensions": [],
        "run_dir": str(place.folder / "run"), "encryption": {"key_file": str(place.keys)}, "job_types": types,
        "logging": {"level": "INFO", "format": "json"}, "heartbeat_interval": 0.3, "lock_timeout": 3, "poll_interval": 0.1,
        "retry": {"initial": 0.05, "max": 0.1},
    }
    path = place.folder / "jobqueue.yaml"
    path.write_text(yaml.safe_dump(written | settings))
    return path
