"""What a job is, and the only place that speaks to a database.

`open_engine` gives a checked engine, `Queue` the verbs of the queue; the rest are the names that callers of those need.
"""

from .job import (
    FINAL,
    MOVES,
    BadParameters,
    DatabaseUnavailable,
    Job,
    Kind,
    LeaseLost,
    Move,
    NewJob,
    Outcome,
    SchemaMismatch,
    Status,
    legal_before,
)
from .tables import Moment, indexed_files, indexing_jobs, metadata, now

__all__ = [
    "FINAL",
    "MOVES",
    "BadParameters",
    "DatabaseUnavailable",
    "Job",
    "Kind",
    "LeaseLost",
    "Moment",
    "Move",
    "NewJob",
    "Outcome",
    "SchemaMismatch",
    "Status",
    "indexed_files",
    "indexing_jobs",
    "legal_before",
    "metadata",
    "now",
]
