"""Taking over a table of jobs that another program made: nothing is lost, and it can be interrupted at any moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from backends import (
    Migration,
    Queue,
    check,
    head,
    migrate,
    migrate_sql,
    open_engine,
)
from tests.backends.legacy_tables import make, rows

KEPT = """id, program_id, user_id, job_type, folder_id, started_at, completed_at,
    error_message, "reviewed by", score, parent_id"""


@pytest.fixture
def legacy(empty_database_url: str) -> Iterator[Engine]:
    """An engine on a database that is to get a legacy table."""
    engine = open_engine(empty_database_url, journal="unchanged")
    yield engine
    engine.dispose()


def test_a_legacy_table_is_taken_over_and_nothing_is_lost(legacy: Engine) -> None:
    make(legacy)
    before, notes = _comparable(legacy), rows(legacy, table="job_notes")
    assert migrate(legacy, batch=50) == Migration("legacy", head())
    check(legacy)
    assert _comparable(legacy) == before
    assert rows(legacy, table="job_notes") == notes
    counts = Queue(legacy).counts()
    assert (counts.pending, counts.running, counts.completed, counts.failed, counts.cancelled) == (80, 0, 40, 40, 40)
    assert Counter(row[0] for row in rows(legacy, "status")) == {"pending": 80, "completed": 40, "failed": 40, "cancelled": 40}


def _comparable(engine: Engine) -> list[tuple[object, ...]]:
    return [tuple(str(value)[:19] for value in row) for row in rows(engine, KEPT)]


def test_a_second_run_does_nothing(legacy: Engine) -> None:
    make(legacy)
    migrate(legacy)
    before = rows(legacy)
    assert migrate(legacy) == Migration(head(), head())
    assert migrate_sql(legacy) == ""
    assert rows(legacy) == before
