"""What a job is, and the only place that speaks to a database.

`open_engine` gives a checked engine, `upgrade` its schema, `Queue` the verbs of the queue, `watch` hints of new work;
the rest are the names that callers of those need. What belongs to an application's own Session (`IndexingJob`, `within`)
is imported when it is asked for: the ORM takes longer than most commands run.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .auditing import Entry as AuditEntry
from .auditing import read as read_audit
from .auditing import record as record_audit
from .backoff import RetryPolicy
from .counters import recount
from .cycle import Cycle
from .dialects import insert_for
from .durability import UnsafeCommits, refuse_unsafe_commits
from .ending import Settled
from .engine import BadDatabaseUrl, InheritedConnection, as_unavailable, is_unavailable, open_connections, open_engine
from .extraction import secret_paths
from .fleet import JobTypeFacts, LaneDisagreement, SupervisorReport, SupervisorView
from .inspection import (
    Stale,
    Transaction,
    connections_in_use,
    database_clock,
    oldest_transaction,
    server_settings,
    sqlite_file,
    stale_leases,
    waiting_without_handler,
)
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
from .keys import KeyProblem, add_key, key_file_of, new_key
from .legacy import CannotTakeOver, Reading
from .measures import Measures
from .migrate import Migration, check, current, head, upgrade, upgrade_sql
from .operating import CancelAnswer, RetryAnswer
from .pages import JobPage
from .queue import Death, Queue, Renewed
from .reading import ATTEMPTS_SHOWN, Counts
from .scope import EVERYTHING, Role, Scope
from .search_index import index_file, matching_files, relabel_file, unindex_files, unindexed_files
from .secrets import (
    Owner,
    Rotation,
    SecretView,
    check_keys,
    forget_secrets,
    forget_under_key,
    keys_in_want,
    list_secrets,
    read_secret,
    refuse_to_replace,
    rotate_secrets,
    secret_names,
    store_secret,
)
from .sqlite import LARGE_LOG, UnsafeFilesystem, checkpoint, filesystem_of, log_size, refuse_networked, safe_for_wal
from .statements import later
from .statistics import (
    ATTEMPTS,
    BUCKET_LABELS,
    BUCKETS,
    DATABASE_ERRORS,
    DURATIONS,
    RECLAIMED,
    RESTARTS,
    TOTAL_SECONDS,
    WAITS,
    Sum,
    Sums,
)
from .tables import (
    Moment,
    api_tokens,
    audit,
    drive_cursors,
    file_texts,
    indexed_files,
    indexing_jobs,
    memberships,
    metadata,
    now,
    programs,
    users,
)
from .takeover import migrate, migrate_sql
from .views import AttemptView, JobView
from .waiting import tell_of_waiting
from .wakeups import Watch, watch

if TYPE_CHECKING:
    from .orm import IndexingJob
    from .sessions import AnySession, UnusableSession, beside, engine_of, session_of, within

_LAZY = {
    "IndexingJob": "orm",
    **dict.fromkeys(("AnySession", "UnusableSession", "beside", "engine_of", "session_of", "within"), "sessions"),
}


if not TYPE_CHECKING:  # a type checker would take every name for one that is here

    def __getattr__(name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)

__all__ = [
    "ATTEMPTS",
    "ATTEMPTS_SHOWN",
    "BUCKETS",
    "BUCKET_LABELS",
    "DATABASE_ERRORS",
    "DURATIONS",
    "EVERYTHING",
    "FINAL",
    "LARGE_LOG",
    "MOVES",
    "RECLAIMED",
    "RESTARTS",
    "TOTAL_SECONDS",
    "WAITS",
    "AnySession",
    "AttemptView",
    "AuditEntry",
    "BadDatabaseUrl",
    "BadParameters",
    "CancelAnswer",
    "CannotTakeOver",
    "Counts",
    "Cycle",
    "DatabaseUnavailable",
    "Death",
    "IndexingJob",
    "InheritedConnection",
    "Job",
    "JobPage",
    "JobTypeFacts",
    "JobView",
    "KeyProblem",
    "Kind",
    "LaneDisagreement",
    "LeaseLost",
    "Measures",
    "Migration",
    "Moment",
    "Move",
    "NewJob",
    "Outcome",
    "Owner",
    "Queue",
    "Reading",
    "Renewed",
    "RetryAnswer",
    "RetryPolicy",
    "Role",
    "Rotation",
    "SchemaMismatch",
    "Scope",
    "SecretView",
    "Settled",
    "Stale",
    "Status",
    "Sum",
    "Sums",
    "SupervisorReport",
    "SupervisorView",
    "Transaction",
    "UnsafeCommits",
    "UnsafeFilesystem",
    "UnusableSession",
    "Watch",
    "add_key",
    "api_tokens",
    "as_unavailable",
    "audit",
    "beside",
    "check",
    "check_keys",
    "checkpoint",
    "connections_in_use",
    "current",
    "database_clock",
    "drive_cursors",
    "engine_of",
    "file_texts",
    "filesystem_of",
    "forget_secrets",
    "forget_under_key",
    "head",
    "index_file",
    "indexed_files",
    "indexing_jobs",
    "insert_for",
    "is_unavailable",
    "key_file_of",
    "keys_in_want",
    "later",
    "legal_before",
    "list_secrets",
    "log_size",
    "matching_files",
    "memberships",
    "metadata",
    "migrate",
    "migrate_sql",
    "new_key",
    "now",
    "oldest_transaction",
    "open_connections",
    "open_engine",
    "programs",
    "read_audit",
    "read_secret",
    "record_audit",
    "recount",
    "refuse_networked",
    "refuse_to_replace",
    "refuse_unsafe_commits",
    "relabel_file",
    "rotate_secrets",
    "safe_for_wal",
    "secret_names",
    "secret_paths",
    "server_settings",
    "session_of",
    "sqlite_file",
    "stale_leases",
    "store_secret",
    "tell_of_waiting",
    "unindex_files",
    "unindexed_files",
    "upgrade",
    "upgrade_sql",
    "users",
    "waiting_without_handler",
    "watch",
    "within",
]
