"""What a job is, and the only place that speaks to a database.

`open_engine` gives a checked engine, `upgrade` its schema, `Queue` the verbs of the queue, `watch` hints of new work;
the rest are the names that callers of those need.
"""

from .backoff import RetryPolicy
from .ending import Settled
from .engine import BadDatabaseUrl, InheritedConnection, is_unavailable, open_connections, open_engine
from .fleet import JobTypeFacts, LaneDisagreement, SupervisorReport, SupervisorView
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
from .migrate import Migration, check, current, head, upgrade, upgrade_sql
from .operating import CancelAnswer, RetryAnswer
from .queue import Cycle, Death, Queue, Renewed
from .reading import AttemptView, Counts, JobView
from .sqlite import UnsafeFilesystem, checkpoint
from .tables import Moment, drive_cursors, indexed_files, indexing_jobs, metadata, now, programs
from .wakeups import Watch, watch

__all__ = [
    "FINAL",
    "MOVES",
    "AttemptView",
    "BadDatabaseUrl",
    "BadParameters",
    "CancelAnswer",
    "Counts",
    "Cycle",
    "DatabaseUnavailable",
    "Death",
    "InheritedConnection",
    "Job",
    "JobTypeFacts",
    "JobView",
    "Kind",
    "LaneDisagreement",
    "LeaseLost",
    "Migration",
    "Moment",
    "Move",
    "NewJob",
    "Outcome",
    "Queue",
    "Renewed",
    "RetryAnswer",
    "RetryPolicy",
    "SchemaMismatch",
    "Settled",
    "Status",
    "SupervisorReport",
    "SupervisorView",
    "UnsafeFilesystem",
    "Watch",
    "check",
    "checkpoint",
    "current",
    "drive_cursors",
    "head",
    "indexed_files",
    "indexing_jobs",
    "is_unavailable",
    "legal_before",
    "metadata",
    "now",
    "open_connections",
    "open_engine",
    "programs",
    "upgrade",
    "upgrade_sql",
    "watch",
]
