"""The first schema: the queue, what it keeps about itself, and what the indexing job writes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from backends.tables import Id, Moment, now

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


STORAGE = {"fillfactor": "80", "autovacuum_vacuum_scale_factor": "0.01"}
"""How Postgres keeps the queue: room in each page for the changes of a job's life, and dead rows cleared early."""


def upgrade() -> None:
    """Create every table, the queue's indexes, and the triggers that count and announce new jobs."""
    op.create_table("indexing_jobs", *queue(), sqlite_autoincrement=True, postgresql_with=STORAGE)
    for name, columns, where, unique in INDEXES:
        op.create_index(
            name,
            "indexing_jobs",
            [sa.text(column) for column in columns],
            unique=unique,
            sqlite_where=sa.text(where) if where else None,
            postgresql_where=sa.text(where) if where else None,
        )
    create_the_rest()
    create_triggers()


def create_the_rest() -> None:
    """Create every table but the queue itself."""
    _create_attempts_and_lanes()
    _create_fleet()
    _create_counters()
    _create_indexing()


def queue() -> list[sa.schema.SchemaItem]:
    """The columns and checks of `indexing_jobs` in this revision, made anew at each call."""
    return [
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("program_id", sa.Integer, nullable=False),
        sa.Column("user_id", sa.Integer),
        sa.Column("job_type", sa.String, nullable=False),
        sa.Column("folder_id", sa.String),
        sa.Column("status", sa.String, nullable=False, server_default="pending"),
        sa.Column("created_at", Moment, nullable=False, server_default=now()),
        sa.Column("started_at", Moment),
        sa.Column("completed_at", Moment),
        sa.Column("total_files", sa.Integer, nullable=False, server_default="0"),
        sa.Column("processed_files", sa.Integer, nullable=False, server_default="0"),
        sa.Column("successful_files", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failed_files", sa.Integer, nullable=False, server_default="0"),
        sa.Column("error_message", sa.Text),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("retry_count", sa.Integer, nullable=False, server_default="0"),
        sa.Column("max_retries", sa.Integer, nullable=False, server_default="3"),
        sa.Column("scheduled_at", Moment),
        sa.Column("locked_at", Moment),
        sa.Column("locked_by", sa.String),
        sa.Column("job_parameters", sa.Text),
        sa.Column("lease", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("ready_at", Moment),
        sa.Column("lane", sa.String),
        sa.Column("waits_for", sa.String),
        sa.Column("unique_key", sa.String),
        sa.Column("interruptions", sa.Integer, nullable=False, server_default="0"),
        sa.Column("cancel_requested_at", Moment),
        sa.Column("progress_message", sa.Text),
        sa.Column("checkpoint", sa.Text),
        sa.Column("locked_boot", sa.String),
        sa.Column("locked_boot_seconds", sa.Float),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'completed', 'failed', 'cancelled')", name="jobqueue_known_status"
        ),
        sa.CheckConstraint("(status = 'running') = (locked_by IS NOT NULL)", name="jobqueue_locked_while_running"),
        sa.CheckConstraint("ready_at IS NULL OR status = 'pending'", name="jobqueue_ready_while_pending"),
    ]


def _create_attempts_and_lanes() -> None:
    op.create_table(
        "jobqueue_job_attempts",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("lease", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
        sa.Column("locked_by", sa.String),
        sa.Column("started_at", Moment),
        sa.Column("ended_at", Moment, nullable=False),
    )
    op.create_table(
        "jobqueue_lanes",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("head", Id),
    )
    op.create_index("ix_jobqueue_job_attempts_job_id", "jobqueue_job_attempts", ["job_id"])


def _create_fleet() -> None:
    op.create_table(
        "jobqueue_job_types",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("lane", sa.String),
        sa.Column("max_retries", sa.Integer),
    )
    op.create_table(
        "jobqueue_supervisors",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("host", sa.String, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started_at", Moment, nullable=False),
        sa.Column("seen_at", Moment, nullable=False),
        sa.Column("job_types", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
    )


def _create_counters() -> None:
    op.create_table(
        "jobqueue_count_deltas",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("program_id", sa.Integer, nullable=False),
        sa.Column("counter", sa.String, nullable=False),
        sa.Column("change", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "jobqueue_counts",
        sa.Column("program_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("counter", sa.String, primary_key=True),
        sa.Column("total", sa.BigInteger, nullable=False),
    )


def _create_indexing() -> None:
    op.create_table(
        "jobqueue_programs",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("folder", sa.String),
        sa.Column("settings", sa.Text, nullable=False, server_default="{}"),
        sa.Column("declared", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("created_at", Moment, nullable=False, server_default=now()),
    )
    op.create_table(
        "indexed_files",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("program_id", sa.Integer, nullable=False),
        sa.Column("file_id", sa.String, nullable=False),
        sa.Column("parent_id", sa.String),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("mime_type", sa.String, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("modified_at", Moment),
        sa.Column("fingerprint", sa.String),
        sa.Column("content_hash", sa.String),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("trashed", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("last_seen_job", Id),
        sa.Column("indexed_at", Moment),
        sa.UniqueConstraint("program_id", "file_id", name="jobqueue_one_row_per_file"),
        sa.CheckConstraint(
            "status IN ('pending', 'indexed', 'skipped', 'failed', 'removed')", name="jobqueue_known_file_status"
        ),
    )
    op.create_index("jobqueue_files_in_folder", "indexed_files", ["program_id", "parent_id"])
    op.create_table(
        "jobqueue_file_texts",
        sa.Column(
            "file_id", Id, sa.ForeignKey("indexed_files.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
        ),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("content_truncated", sa.Boolean, nullable=False, server_default=sa.text("false")),
    )
    op.create_table(
        "jobqueue_drive_cursors",
        sa.Column("program_id", sa.Integer, sa.ForeignKey("jobqueue_programs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("corpus", sa.String, primary_key=True),
        sa.Column("token", sa.String),
        sa.Column("pending_token", sa.String),
    )


_ORDER = ["priority DESC", "created_at", "id"]
_PENDING = "status = 'pending' AND "
INDEXES: list[tuple[str, list[str], str, bool]] = [
    ("jobqueue_ready", _ORDER, "ready_at IS NOT NULL", False),
    ("jobqueue_unexamined", ["id"], _PENDING + "ready_at IS NULL AND waits_for IS NULL", False),
    ("jobqueue_delayed", ["scheduled_at"], _PENDING + "waits_for = 'time'", False),
    ("jobqueue_in_lane", ["lane", *_ORDER], _PENDING + "waits_for = 'lane'", False),
    ("jobqueue_without_handler", ["job_type", "id"], _PENDING + "waits_for = 'handler'", False),
    ("jobqueue_running", ["locked_by"], "status = 'running'", False),
    ("jobqueue_one_runs_in_a_lane", ["lane"], "status = 'running' AND lane IS NOT NULL", True),
    ("jobqueue_unique_key", ["program_id", "unique_key"], "unique_key IS NOT NULL", True),
    ("jobqueue_of_program", ["program_id", "id"], "", False),
]
"""The queue's indexes: name, columns, the condition of a partial one, whether it is unique."""


def create_triggers() -> None:
    """Create the triggers that count and announce new jobs."""
    for statement in TRIGGERS[op.get_context().dialect.name]:
        op.execute(statement)


TRIGGERS: dict[str, list[str]] = {
    "sqlite": [
        """CREATE TRIGGER jobqueue_inserted AFTER INSERT ON indexing_jobs BEGIN
            INSERT INTO jobqueue_count_deltas (program_id, counter, change) VALUES (NEW.program_id, 'created', 1);
        END"""
    ],
    "postgresql": [
        # Its owner's rights and its own schema: whoever may insert a job can, whatever else they may do and see.
        """CREATE FUNCTION jobqueue_inserted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        DECLARE
            added bigint := (SELECT count(*) FROM fresh);
        BEGIN
            IF added > 0 THEN
                INSERT INTO jobqueue_count_deltas (program_id, counter, change)
                    SELECT program_id, 'created', count(*) FROM fresh GROUP BY program_id;
                PERFORM pg_notify(('jobqueue_' || TG_TABLE_SCHEMA)::name::text, added::text);
            END IF;
            RETURN NULL;
        END $$""",
        """DO $$ BEGIN
            EXECUTE format('ALTER FUNCTION jobqueue_inserted() SET search_path = %I, pg_temp', current_schema());
        END $$""",
        """CREATE TRIGGER jobqueue_inserted AFTER INSERT ON indexing_jobs
            REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION jobqueue_inserted()""",
    ],
}


def downgrade() -> None:
    """There is nothing before this."""
    raise NotImplementedError("the first schema cannot be downgraded; drop its tables by hand if you mean it")
