"""What can be seen of a queue between two steps, in one form for both databases."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table, select

from backends import Queue, Status, indexing_jobs
from backends.tables import job_attempts

PROGRAMS = (1, 2)
TOLD = (0, 1)
"""Of which programs the counters are asked; 0 is all."""

COUNTED = (*map(str, Status), "scheduled", "waiting")

effects = Table(
    "machine_effects", MetaData(),
    Column("job_id", BigInteger, nullable=False),
    Column("lease", BigInteger, nullable=False),
    Column("tag", String, nullable=False),
)
"""What handlers write in their fenced transactions: a row for each."""


class Said(NamedTuple):
    """What a job's attempts have said of themselves: how many files are processed, and where the next one goes on."""

    processed: int
    checkpoint: str | None


class Row(NamedTuple):
    """A job, as far as both databases must agree on it; `ready`: a claim may take it."""

    id: int
    program_id: int
    job_type: str
    status: str
    lease: int
    locked_by: str | None
    retry_count: int
    max_retries: int
    interruptions: int
    priority: int
    lane: str | None
    waits_for: str | None
    error_message: str | None
    processed_files: int
    checkpoint: str | None
    ready: bool
    asked_to_stop: bool

    @property
    def said(self) -> Said:
        """What its attempts have said of themselves."""
        return Said(self.processed_files, self.checkpoint)

    @property
    def attempt(self) -> tuple[int, int]:
        """Its newest attempt."""
        return self.id, self.lease


@dataclass(frozen=True, slots=True)
class Seen:
    """All jobs by id, the attempts on record, what the counters say of some programs, and what handlers wrote by attempt."""

    rows: dict[int, Row]
    attempts: Counter[tuple[int, int, str, str]]
    told: dict[int, dict[str, int]]
    effects: Counter[tuple[int, int, str]]


def look(queue: Queue) -> Seen:
    """How everything stands now, in one transaction."""

    def all_of_it(connection: Connection) -> Seen:
        told = {each: queue.counts(each or None, connection=connection) for each in TOLD}
        numbers = {each: {name: getattr(told[each], name) for name in COUNTED} for each in told}
        return Seen(_rows(connection), _attempts(connection), numbers, _effects(connection))

    return queue.read(all_of_it)


def _rows(connection: Connection) -> dict[int, Row]:
    job = indexing_jobs.c
    columns = [job[name] for name in Row._fields[:-2]]
    found = connection.execute(select(*columns, job.ready_at.is_not(None), job.cancel_requested_at.is_not(None)).order_by(job.id))
    return {row.id: row for row in (Row(*each[:-2], bool(each[-2]), bool(each[-1])) for each in found)}


def _attempts(connection: Connection) -> Counter[tuple[int, int, str, str]]:
    kept = job_attempts.c
    found: Any = connection.execute(select(kept.job_id, kept.lease, kept.outcome, kept.locked_by))
    return Counter(tuple(each) for each in found)


def _effects(connection: Connection) -> Counter[tuple[int, int, str]]:
    return Counter((row.job_id, row.lease, row.tag) for row in connection.execute(select(effects)))
