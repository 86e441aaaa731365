"""Every table of the installation: one metadata, the same on SQLite and Postgres.

`indexing_jobs` is an interface: any program may insert a row with a plain INSERT. All other names start with
`jobqueue_` (`indexed_files` aside), so that the tables can stand in a team's own database.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import Float

from .column_types import LargeWhole, LongWords, Whole, Words
from .column_types import Moment as Moment
from .column_types import moment_text as moment_text
from .column_types import now as now

metadata = MetaData()

Id = BigInteger().with_variant(Integer(), "sqlite")

indexing_jobs = Table(
    "indexing_jobs",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("program_id", Whole, nullable=False),
    Column("user_id", Whole),
    Column("job_type", Words, nullable=False),
    Column("folder_id", Words),
    Column("status", String, nullable=False, server_default="pending"),
    Column("created_at", Moment, nullable=False, server_default=now()),
    Column("started_at", Moment),
    Column("completed_at", Moment),
    Column("total_files", Whole, nullable=False, server_default="0"),
    Column("processed_files", Whole, nullable=False, server_default="0"),
    Column("successful_files", Whole, nullable=False, server_default="0"),
    Column("failed_files", Whole, nullable=False, server_default="0"),
    Column("error_message", LongWords),
    Column("priority", Whole, nullable=False, server_default="0"),
    Column("retry_count", Whole, nullable=False, server_default="0"),
    Column("max_retries", Whole, nullable=False, server_default="3"),
    Column("scheduled_at", Moment),
    Column("locked_at", Moment),
    Column("locked_by", Words),
    Column("job_parameters", LongWords),
    Column("lease", LargeWhole, nullable=False, server_default="0"),
    Column("ready_at", Moment),
    Column("lane", Words),
    Column("waits_for", Words),
    Column("unique_key", Words),
    Column("interruptions", Whole, nullable=False, server_default="0"),
    Column("cancel_requested_at", Moment),
    Column("progress_message", LongWords),
    Column("checkpoint", LongWords),
    Column("locked_boot", Words),
    Column("locked_boot_seconds", Float),
    Column("holds_secrets", Boolean),
    Column("examined", Boolean),
    CheckConstraint(
        "status IN ('pending', 'running', 'completed', 'failed', 'cancelled')", name="jobqueue_known_status"
    ),
    CheckConstraint("(status = 'running') = (locked_by IS NOT NULL)", name="jobqueue_locked_while_running"),
    CheckConstraint("ready_at IS NULL OR status = 'pending'", name="jobqueue_ready_while_pending"),
    sqlite_autoincrement=True,
)
"""The queue. `ready_at`, `lane` and `waits_for` are private: admission alone sets them, or an enqueue that looked itself and says
so in `examined` until they change. A trigger takes them out of any other INSERT, which may be a copy of a row.

A pending row is in one of these conditions: `ready_at` set (claimable); `waits_for` 'time' (until `scheduled_at`),
'lane' (behind the head of its lane), 'handler' (no supervisor serves its type), 'name' (the type's name is longer than any may
be) or 'key' (its parameters hold a secret that nothing can encrypt yet); neither (not yet examined).
`locked_boot` and `locked_boot_seconds` repeat `locked_at` on the host's own boot clock (SQLite only). `holds_secrets` is true
while `jobqueue_secrets` has rows of the job, false when it had some, NULL when there never were any.
"""

job = indexing_jobs.c


def _partial(name: str, *columns: Any, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


_partial("jobqueue_ready", job.priority.desc(), job.created_at, job.id, where="ready_at IS NOT NULL")
_partial(
    "jobqueue_unexamined", job.id, where="status = 'pending' AND ready_at IS NULL AND waits_for IS NULL"
)
_partial("jobqueue_delayed", job.scheduled_at, where="status = 'pending' AND waits_for = 'time'")
_partial(
    "jobqueue_in_lane",
    job.lane,
    job.priority.desc(),
    job.created_at,
    job.id,
    where="status = 'pending' AND waits_for = 'lane'",
)
_partial("jobqueue_without_handler", job.job_type, job.id, where="status = 'pending' AND waits_for = 'handler'")
_partial("jobqueue_without_key", job.id, where="status = 'pending' AND waits_for = 'key'")
_partial("jobqueue_running", job.locked_by, where="status = 'running'")
_partial("jobqueue_one_runs_in_a_lane", job.lane, where="status = 'running' AND lane IS NOT NULL", unique=True)
_partial("jobqueue_unique_key", job.program_id, job.unique_key, where="unique_key IS NOT NULL", unique=True)
_partial("jobqueue_listed_pending", job.program_id, job.id, where="status = 'pending' AND id >= -9223372036854775807")
_partial("jobqueue_failed", job.program_id, job.id, where="status = 'failed'")
_partial("jobqueue_cancelled", job.program_id, job.id, where="status = 'cancelled'")
Index("jobqueue_of_program", job.program_id, job.id)

job_attempts = Table(
    "jobqueue_job_attempts",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("job_id", Id, nullable=False, index=True),
    Column("lease", BigInteger, nullable=False),
    Column("outcome", String, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("detail", Text, nullable=False, server_default=""),
    Column("locked_by", String),
    Column("started_at", Moment),
    Column("ended_at", Moment, nullable=False),
)
"""One row for each attempt that ended other than completed: why, and who ran it."""

lanes = Table(
    "jobqueue_lanes",
    metadata,
    Column("name", String, primary_key=True),
    Column("head", Id),
)
"""One row per lane, locked for moments and in name order; `head` is the job that may run or runs."""

job_types = Table(
    "jobqueue_job_types",
    metadata,
    Column("name", String, primary_key=True),
    Column("lane", String),
    Column("max_retries", Integer),
)
"""What admission must know of a job type; `lane` is its template, NULL for none. Written when a supervisor starts."""

supervisors = Table(
    "jobqueue_supervisors",
    metadata,
    Column("id", String, primary_key=True),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
    Column("job_types", Text, nullable=False),
    Column("status", Text, nullable=False),
)
"""One row per living supervisor, refreshed each heartbeat. `job_types` (names to lane templates) and `status` are JSON."""

count_deltas = Table(
    "jobqueue_count_deltas",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("program_id", Whole, nullable=False),
    Column("counter", String, nullable=False),
    Column("change", BigInteger, nullable=False),
)
"""Changes of the counters; whoever makes them appends, maintenance folds.

`created`, `completed`, `failed`, `cancelled`, and among the pending `scheduled` (waits for its time) and `waiting` (for its lane)
say how many jobs there are. `removed` and `discarded` only grow: jobs that were pruned, and ends as `failed`.
"""

counts = Table(
    "jobqueue_counts",
    metadata,
    Column("program_id", Integer, primary_key=True, autoincrement=False),
    Column("counter", String, primary_key=True),
    Column("total", BigInteger, nullable=False),
)
"""The folded counters. Pending jobs are those created, less those final and those running."""

programs = Table(
    "jobqueue_programs",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String, nullable=False),
    Column("source", String, nullable=False),
    Column("folder", String),
    Column("settings", Text, nullable=False, server_default="{}"),
    Column("declared", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", Moment, nullable=False, server_default=now()),
)
"""What is indexed for whom. `source` is `local` or `google_drive`; `declared` rows come from jobqueue.yaml."""

indexed_files = Table(
    "indexed_files",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("program_id", Integer, nullable=False),
    Column("file_id", String, nullable=False),
    Column("parent_id", String),
    Column("name", String, nullable=False),
    Column("path", Text, nullable=False),
    Column("mime_type", String, nullable=False),
    Column("size", BigInteger),
    Column("modified_at", Moment),
    Column("fingerprint", String),
    Column("content_hash", String),
    Column("status", String, nullable=False),
    Column("reason", Text),
    Column("trashed", Boolean, nullable=False, server_default=text("false")),
    Column("last_seen_job", Id),
    Column("indexed_at", Moment),
    UniqueConstraint("program_id", "file_id", name="jobqueue_one_row_per_file"),
    CheckConstraint(
        "status IN ('pending', 'indexed', 'skipped', 'failed', 'removed')", name="jobqueue_known_file_status"
    ),
)
"""One row per file of a program, keyed by the source's own file id. `fingerprint` tells whether it must be read again."""

Index("jobqueue_files_in_folder", indexed_files.c.program_id, indexed_files.c.parent_id)

file_texts = Table(
    "jobqueue_file_texts",
    metadata,
    Column("file_id", Id, ForeignKey("indexed_files.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("content", Text, nullable=False),
    Column("content_truncated", Boolean, nullable=False, server_default=text("false")),
)
"""The text of each indexed file, by the `id` of its row: apart, so that noting a sighting does not rewrite megabytes."""

drive_cursors = Table(
    "jobqueue_drive_cursors",
    metadata,
    Column("program_id", Integer, ForeignKey("jobqueue_programs.id", ondelete="CASCADE"), primary_key=True),
    Column("corpus", String, primary_key=True),
    Column("token", String),
    Column("pending_token", String),
)
"""Where `incremental` goes on in Drive's list of changes, per program and corpus."""

users = Table(
    "jobqueue_users",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String, nullable=False, unique=True),
    Column("subject", String, unique=True),
    Column("is_admin", Boolean, nullable=False, server_default=text("false")),
    Column("disabled_at", Moment),
    Column("created_at", Moment, nullable=False, server_default=now()),
)
"""Who may ask. `subject` is what an identity provider calls them; `is_admin` may do everything in every program."""

memberships = Table(
    "jobqueue_memberships",
    metadata,
    Column("user_id", Integer, ForeignKey("jobqueue_users.id", ondelete="CASCADE"), primary_key=True),
    Column("program_id", Integer, primary_key=True, index=True),
    Column("role", String, nullable=False),
    CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="jobqueue_known_role"),
)
"""What a user may do in a program. A program need not be one of `jobqueue_programs`: they may live in the team's own tables."""

api_tokens = Table(
    "jobqueue_api_tokens",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("user_id", Integer, ForeignKey("jobqueue_users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", String, nullable=False),
    Column("prefix", String, nullable=False),
    Column("hash", String, nullable=False, unique=True),
    Column("created_at", Moment, nullable=False, server_default=now()),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    Column("last_used_at", Moment),
)
"""Bearer tokens. Only the SHA-256 of each is kept, and a prefix by which people tell them apart."""

audit = Table(
    "jobqueue_audit",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Moment, nullable=False, server_default=now()),
    Column("actor", String, nullable=False),
    Column("user_id", Integer),
    Column("via", String, nullable=False),
    Column("action", String, nullable=False),
    Column("program_id", Integer),
    Column("job_id", Id),
    Column("reason", Text),
    Column("detail", Text),
)
"""Every change that a person made: who, by which way (`api`, `cli`), what, when and why. `detail` is JSON."""

Index("jobqueue_audit_of_program", audit.c.program_id, audit.c.id)

secrets = Table(
    "jobqueue_secrets",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("owner", String, nullable=False),
    Column("owner_id", Id, nullable=False),
    Column("name", String, nullable=False),
    Column("key_id", String, nullable=False),
    Column("sealed", Text, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=now()),
    UniqueConstraint("owner", "owner_id", "name", name="jobqueue_one_secret_of_a_name"),
    CheckConstraint("owner IN ('job', 'user', 'program')", name="jobqueue_known_owner"),
)
"""Credentials of jobs, users and programs, encrypted under the key `key_id` and bound to their row."""

statistics = Table(
    "jobqueue_statistics",
    metadata,
    Column("name", String, primary_key=True),
    Column("job_type", String, primary_key=True),
    Column("label", String, primary_key=True),
    Column("total", Float, nullable=False),
)
"""Sums that only grow, for `/metrics`: attempts by outcome, histograms of durations and waits. Workers add to them."""

unfinished = Table(
    "jobqueue_unfinished",
    metadata,
    Column("name", String, primary_key=True),
    Column("position", Id, nullable=False),
    Column("last", Id, nullable=False),
    Column("come_back_to", Id),
)
"""Walks over the jobs that a change of the schema left to maintenance: where one is, where it ends, what it had to leave."""
