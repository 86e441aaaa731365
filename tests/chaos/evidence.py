"""Evidence: all that a verdict rests on, gathered from the histories, the witness, the jobs as they stand, and the files."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text

from workers import boot_time

from .damage import NOBODY, Inspection, inspect
from .history import Event, read_histories
from .witness import Change, Effect, Write, read_changes, read_effects, read_writes

LANES = {"laned": "program:{program_id}"}
"""The job types of these tests that have a lane, each with what it is configured to be."""


class Attempt(NamedTuple):
    """What the queue keeps of an attempt that ended other than completed."""

    job: int
    lease: int
    outcome: str
    reason: str


class Row(NamedTuple):
    """A job as it stands at the end; `key` is its unique key, or its folder when it has none."""

    job: int
    status: str
    lease: int
    key: str | None
    max_retries: int = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a verdict rests on. `drained`: the queue was given all the time it needed, so nothing may be left.

    `booted` is when the clock of the histories began, in seconds of the epoch: what the database's clock must be less, to be
    compared with theirs. It must not have been stepped back between a wish and what came of it.
    """

    history: list[Event]
    changes: list[Change]
    effects: list[Effect]
    rows: list[Row]
    attempts: list[Attempt]
    drained: bool = True
    writes: Sequence[Write] = ()
    lanes: Mapping[str, str] = field(default_factory=lambda: LANES)
    booted: float = 0.0
    inspection: Inspection = NOBODY


def gather(engine: Engine, folder: Path, drained: bool = True, lanes: Mapping[str, str] = LANES) -> Evidence:
    """The evidence that a database and the histories in a folder hold."""
    booted = time.time() - boot_time()
    inspection = inspect(engine)
    if not inspection.by:
        warnings.warn("the server is not ours to inspect: nobody looked for damage in its files", stacklevel=2)
    with engine.connect() as connection:
        return Evidence(
            read_histories(folder), read_changes(connection), read_effects(connection), _rows(connection),
            _attempts(connection), drained, read_writes(connection), lanes, booted, inspection,
        )


def _rows(connection: Connection) -> list[Row]:
    columns = "id, status, lease, coalesce(unique_key, folder_id), max_retries"
    return [Row(*row) for row in connection.execute(text(f"SELECT {columns} FROM indexing_jobs ORDER BY id"))]


def _attempts(connection: Connection) -> list[Attempt]:
    found = connection.execute(text("SELECT job_id, lease, outcome, reason FROM jobqueue_job_attempts ORDER BY id"))
    return [Attempt(*row) for row in found]
