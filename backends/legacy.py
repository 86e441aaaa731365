"""The table `indexing_jobs` of an application that had no queue yet: what it may look like, and what its values mean.

It is brought to the first schema, from which the ordinary upgrade goes on, so that nothing here follows later schemas.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo

from sqlalchemy import CheckConstraint, Column, MetaData, Table
from sqlalchemy.types import Float, String

from .job import SchemaMismatch, Status
from .migrate import revision_module, statements_of
from .tables import Moment, indexing_jobs

FIRST = "0001"
"""The schema to which a legacy table is brought."""


class CannotTakeOver(SchemaMismatch):
    """The table cannot be taken over as it is. `problems` has each reason, with what to do.

    Nothing was changed, unless it `was_begun`: then the application wrote meanwhile what is in the way, the table can still be
    used, and the next call goes on.
    """

    def __init__(self, problems: list[str], was_begun: bool = False) -> None:
        super().__init__("\n".join(problems))
        self.problems, self.was_begun = problems, was_begun


SYNONYMS: dict[Status, str] = {
    Status.PENDING: "pending queued waiting new created scheduled submitted enqueued not_started todo retry retrying",
    Status.RUNNING: "running in_progress inprogress processing started active working indexing",
    Status.COMPLETED: "completed complete done finished success succeeded successful ok",
    Status.FAILED: "failed failure fail error errored crashed timeout timed_out",
    Status.CANCELLED: "cancelled canceled cancel aborted revoked",
}
"""Words that applications use for each status; compared in lower case, with `_` for spaces and hyphens."""


@dataclass(frozen=True)
class Reading:
    """How the operator says that the table is to be read: the zone of times without one, and what unknown statuses mean."""

    timezone: str = "UTC"
    statuses: Mapping[str, Status] = field(default_factory=dict)

    @property
    def zone(self) -> tzinfo:
        """The zone of `timezone`. Raises `ValueError` or `KeyError` when there is none of that name."""
        return UTC if self.timezone == "UTC" else ZoneInfo(self.timezone)

    def meanings(self) -> dict[str, Status]:
        """What each known word means for a job here: one that is said to run is pending, for nobody runs it any more."""
        known = {word: status for status, words in SYNONYMS.items() for word in words.split()}
        known |= {normal(word): status for word, status in self.statuses.items()}
        return {word: Status.PENDING if status is Status.RUNNING else status for word, status in known.items()}

    def status_sql(self) -> str:
        """An SQL expression for the new status, from column `status`; NULL where nobody knows what it means."""
        word = "replace(replace(lower(trim(status)), '-', '_'), ' ', '_')"
        whens = " ".join(f"WHEN {quoted(each)} THEN '{status}'" for each, status in self.meanings().items())
        return f"CASE {word} {whens} END"

    def unknown(self, found: Iterable[str | None]) -> list[str]:
        """Of the statuses found in the table, a problem for each that nobody knows the meaning of."""
        meanings = self.meanings()
        return [
            f"status {word!r} of some rows has no known meaning: say what it is, with --status {quoted(word or '')}=failed"
            if word is not None else "some rows have no status: UPDATE indexing_jobs SET status = 'failed' WHERE status IS NULL"
            for word in found if word is None or normal(word) not in meanings
        ]


def normal(word: str) -> str:
    """A status as it is compared."""
    return word.strip().lower().replace("-", "_").replace(" ", "_")


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


class Kind(StrEnum):
    """What a column of ours holds."""

    NUMBER = "a whole number"
    TEXT = "text"
    MOMENT = "a time"
    FLOAT = "a number"


def kind(column: Column[object]) -> Kind:
    """What this column of ours holds."""
    if isinstance(column.type, Moment):
        return Kind.MOMENT
    if isinstance(column.type, String):
        return Kind.TEXT
    return Kind.FLOAT if isinstance(column.type, Float) else Kind.NUMBER


@cache
def wanted() -> Table:
    """The queue's table as the first schema has it."""
    return Table("indexing_jobs", MetaData(), *revision_module(FIRST).queue(), sqlite_autoincrement=True)


@cache
def first_tables() -> frozenset[str]:
    """The tables of the first schema beside the queue's own."""
    statements = statements_of("postgresql", revision_module(FIRST).create_the_rest)
    return frozenset(found[1] for each in statements if (found := re.match(r"CREATE TABLE (\w+)", each)))


def checks() -> dict[str, str]:
    """The conditions that the first schema sets on a row, by name."""
    found = [each for each in wanted().constraints if isinstance(each, CheckConstraint)]
    return {str(each.name): str(each.sqltext) for each in sorted(found, key=lambda check: str(check.name))}


NEEDED = ("id", "program_id", "job_type", "status")
"""Columns whose values nobody can make up."""

PRIVATE = {
    "lease": "lease <> 0", "ready_at": "ready_at IS NOT NULL", "lane": "lane IS NOT NULL",
    "waits_for": "waits_for IS NOT NULL", "unique_key": "unique_key IS NOT NULL", "interruptions": "interruptions <> 0",
    "cancel_requested_at": "cancel_requested_at IS NOT NULL", "checkpoint": "checkpoint IS NOT NULL",
    "locked_boot": "locked_boot IS NOT NULL", "locked_boot_seconds": "locked_boot_seconds IS NOT NULL",
}
"""Columns that only the queue writes, each with the condition that tells that somebody else did."""

FILLED = {
    "total_files": "0", "processed_files": "0", "successful_files": "0", "failed_files": "0", "priority": "0",
    "retry_count": "0", "max_retries": "3", "lease": "0", "interruptions": "0",
}
"""What a NULL becomes in columns that must have a value."""


def problems_of_columns(found: Iterable[str]) -> list[str]:
    """What is wrong with the names of the table's columns."""
    names = set(found)
    later = {column.name for column in indexing_jobs.columns} - {column.name for column in wanted().columns}
    return [
        *(f"column {name} is missing, and its values cannot be made up: add and fill it" for name in NEEDED if name not in names),
        *(f"column {name} is one of the queue's own: rename yours" for name in sorted(later & names)),
    ]


def problem_of_private(name: str) -> str:
    """Said when somebody else wrote a column of `PRIVATE`."""
    return f"column {name} holds values, but is private to the queue: rename yours, or empty it"


def problem_of_required(name: str) -> str:
    """Said of a column that is not ours and must have a value that nobody but the application would give."""
    return f"column {name} must have a value and has no default, so that no other program could add a job: give it a default"


def problem_of_tables(present: set[str]) -> list[str]:
    """What is wrong when some of the names of our tables are taken. All of them: they are ours, of an earlier run."""
    return [f"a table {name} exists already: rename yours" for name in sorted(present)] if present < first_tables() else []


COUNT = (
    "DELETE FROM jobqueue_count_deltas",
    "DELETE FROM jobqueue_counts",
    "INSERT INTO jobqueue_counts (program_id, counter, total)"
    " SELECT program_id, 'created', count(*) FROM indexing_jobs GROUP BY program_id",
    "INSERT INTO jobqueue_counts (program_id, counter, total) SELECT program_id, status, count(*) FROM indexing_jobs"
    " WHERE status IN ('completed', 'failed', 'cancelled') GROUP BY program_id, status",
)
"""Set the counters of the first schema to what the table holds."""

RECORD = (
    "CREATE TABLE IF NOT EXISTS jobqueue_version (version_num VARCHAR(32) NOT NULL,"
    " CONSTRAINT jobqueue_version_pkc PRIMARY KEY (version_num))",
    f"INSERT INTO jobqueue_version (version_num) VALUES ('{FIRST}')",
)
"""Say that the table is ours now: the last thing that is done."""
