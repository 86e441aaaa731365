"""Users and what they may do, encrypted secrets, the audit, statistics; indexes and counters that keep status and lists cheap."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from backends.tables import Id, Moment, now

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables, the column and the indexes. The queue itself is touched last: its lock is held for a moment."""
    _create_access()
    _create_audit()
    _create_secrets()
    _create_statistics()
    op.add_column("indexing_jobs", sa.Column("holds_secrets", sa.Boolean))
    op.add_column("indexing_jobs", sa.Column("examined", sa.Boolean))
    _create_indexes()
    _count_the_waiting()
    _leave_the_old_secrets()
    for statement in TRIGGERS[op.get_context().dialect.name]:
        op.execute(statement)


def _create_access() -> None:
    op.create_table(
        "jobqueue_users",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("subject", sa.String, unique=True),
        sa.Column("is_admin", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("disabled_at", Moment),
        sa.Column("created_at", Moment, nullable=False, server_default=now()),
    )
    op.create_table(
        "jobqueue_memberships",
        sa.Column("user_id", sa.Integer, sa.ForeignKey("jobqueue_users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("program_id", sa.Integer, primary_key=True),
        sa.Column("role", sa.String, nullable=False),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="jobqueue_known_role"),
    )
    op.create_index("ix_jobqueue_memberships_program_id", "jobqueue_memberships", ["program_id"])
    op.create_table(
        "jobqueue_api_tokens",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("jobqueue_users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("prefix", sa.String, nullable=False),
        sa.Column("hash", sa.String, nullable=False, unique=True),
        sa.Column("created_at", Moment, nullable=False, server_default=now()),
        sa.Column("expires_at", Moment),
        sa.Column("revoked_at", Moment),
        sa.Column("last_used_at", Moment),
    )
    op.create_index("ix_jobqueue_api_tokens_user_id", "jobqueue_api_tokens", ["user_id"])


def _create_audit() -> None:
    op.create_table(
        "jobqueue_audit",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("at", Moment, nullable=False, server_default=now()),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("user_id", sa.Integer),
        sa.Column("via", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("program_id", sa.Integer),
        sa.Column("job_id", Id),
        sa.Column("reason", sa.Text),
        sa.Column("detail", sa.Text),
    )
    op.create_index("jobqueue_audit_of_program", "jobqueue_audit", ["program_id", "id"])


def _create_secrets() -> None:
    op.create_table(
        "jobqueue_secrets",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("owner_id", Id, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("created_at", Moment, nullable=False, server_default=now()),
        sa.UniqueConstraint("owner", "owner_id", "name", name="jobqueue_one_secret_of_a_name"),
        sa.CheckConstraint("owner IN ('job', 'user', 'program')", name="jobqueue_known_owner"),
    )


def _leave_the_old_secrets() -> None:
    """Jobs that are there already may have secrets among their parameters: maintenance will look at each once."""
    op.create_table(
        "jobqueue_unfinished",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("position", Id, nullable=False),
        sa.Column("last", Id, nullable=False),
        sa.Column("come_back_to", Id),
    )
    op.execute(
        "INSERT INTO jobqueue_unfinished (name, position, last)"
        " SELECT 'old secrets', 0, max(id) FROM indexing_jobs HAVING max(id) IS NOT NULL"
    )


def _create_statistics() -> None:
    op.create_table(
        "jobqueue_statistics",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("job_type", sa.String, primary_key=True),
        sa.Column("label", sa.String, primary_key=True),
        sa.Column("total", sa.Float, nullable=False),
    )


INDEXES = [
    ("jobqueue_without_key", ["id"], "status = 'pending' AND waits_for = 'key'"),
    ("jobqueue_pending", ["program_id", "id"], "status = 'pending'"),
    ("jobqueue_failed", ["program_id", "id"], "status = 'failed'"),
    ("jobqueue_cancelled", ["program_id", "id"], "status = 'cancelled'"),
]
"""New indexes of the queue, over columns that were there before: where there are jobs, Postgres makes them beforehand."""


def _create_indexes() -> None:
    for name, columns, where in INDEXES:
        op.create_index(
            name, "indexing_jobs", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where), if_not_exists=True
        )


def _count_the_waiting() -> None:
    """What waits for its time or its lane is counted from now on: begin with what waits already."""
    for reason, counter in (("time", "scheduled"), ("lane", "waiting")):
        op.execute(
            "INSERT INTO jobqueue_count_deltas (program_id, counter, change)"
            f" SELECT program_id, '{counter}', count(*) FROM indexing_jobs"
            f" WHERE status = 'pending' AND waits_for = '{reason}' GROUP BY program_id"
        )


_OVER = "NEW.status IN ('completed', 'failed', 'cancelled')"
"""A row that somebody brings along with its history: it is counted as what it is, and not as one that still waits."""

_PRETENDS = """NEW.status = 'running' OR NEW.status = 'pending' AND (
            NEW.holds_secrets IS NOT NULL
            OR NEW.ready_at IS NOT NULL AND NEW.lane IS NOT NULL
            OR NEW.examined IS NOT TRUE AND (NEW.ready_at IS NOT NULL OR NEW.waits_for IS NOT NULL OR NEW.lane IS NOT NULL)
        )"""
"""A new row that says of itself what admission alone may say: a copy of another row, say."""

_GIVEN_NUMBERS = ("program_id", "user_id", "priority", "max_retries")
_GIVEN_TEXTS = ("job_type", "folder_id", "unique_key")
_NUMBERS = (*_GIVEN_NUMBERS, "retry_count", "interruptions",
            "total_files", "processed_files", "successful_files", "failed_files")
_TEXTS = (*_GIVEN_TEXTS, "job_parameters", "error_message", "progress_message", "checkpoint", "lane", "waits_for", "locked_by",
          "created_at", "started_at", "completed_at", "scheduled_at", "locked_at", "ready_at", "cancel_requested_at")


def _type_guard(name: str, event: str, numbers: tuple[str, ...], texts: tuple[str, ...]) -> str:
    """A trigger for SQLite, which itself would keep anything anywhere. Operators alone: `typeof` costs twice as much."""
    no_number = {each: f"NEW.{each} NOT BETWEEN -2147483648 AND 2147483647 OR (NEW.{each} | 0) <> NEW.{each}" for each in numbers}
    blob = {each: f"NEW.{each} >= x''" for each in texts}
    cases = [
        *(f"WHEN {wrong} THEN RAISE(ABORT, 'jobqueue: {each} must be a whole number from -2147483648 to 2147483647')"
          for each, wrong in no_number.items()),
        *(f"WHEN {wrong} THEN RAISE(ABORT, 'jobqueue: {each} must be text, not a BLOB')" for each, wrong in blob.items()),
    ]
    return (f"CREATE TRIGGER {name} AFTER {event} ON indexing_jobs WHEN {' OR '.join([*no_number.values(), *blob.values()])}"
            f" BEGIN SELECT CASE {' '.join(cases)} END; END")


TRIGGERS: dict[str, list[str]] = {
    "sqlite": [
        _type_guard("jobqueue_inserted_types", "INSERT", _NUMBERS, _TEXTS),
        # Of what the queue itself does not change, so that it costs a claim nothing.
        _type_guard(
            "jobqueue_updated_types", f"UPDATE OF {', '.join([*_GIVEN_NUMBERS, *_GIVEN_TEXTS])}", _GIVEN_NUMBERS, _GIVEN_TEXTS
        ),
        f"""CREATE TRIGGER jobqueue_pretended AFTER INSERT ON indexing_jobs WHEN {_PRETENDS} BEGIN
            UPDATE indexing_jobs SET status = 'pending', ready_at = NULL, waits_for = NULL, lane = NULL, holds_secrets = NULL,
                examined = NULL, locked_at = NULL, locked_by = NULL, locked_boot = NULL, locked_boot_seconds = NULL
            WHERE id = NEW.id;
        END""",
        f"""CREATE TRIGGER jobqueue_over_already AFTER INSERT ON indexing_jobs WHEN {_OVER} BEGIN
            INSERT INTO jobqueue_count_deltas (program_id, counter, change) VALUES (NEW.program_id, NEW.status, 1);
        END""",
    ],
    "postgresql": [
        """CREATE FUNCTION jobqueue_pretended() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            NEW.status := 'pending'; NEW.ready_at := NULL; NEW.waits_for := NULL; NEW.lane := NULL; NEW.holds_secrets := NULL;
            NEW.examined := NULL; NEW.locked_at := NULL; NEW.locked_by := NULL;
            NEW.locked_boot := NULL; NEW.locked_boot_seconds := NULL;
            RETURN NEW;
        END $$""",
        f"""CREATE TRIGGER jobqueue_pretended BEFORE INSERT ON indexing_jobs FOR EACH ROW
            WHEN ({_PRETENDS}) EXECUTE FUNCTION jobqueue_pretended()""",
        """CREATE FUNCTION jobqueue_over_already() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
            INSERT INTO jobqueue_count_deltas (program_id, counter, change) VALUES (NEW.program_id, NEW.status, 1);
            RETURN NULL;
        END $$""",
        """DO $$ BEGIN
            EXECUTE format('ALTER FUNCTION jobqueue_over_already() SET search_path = %I, pg_temp', current_schema());
        END $$""",
        f"""CREATE TRIGGER jobqueue_over_already AFTER INSERT ON indexing_jobs FOR EACH ROW
            WHEN ({_OVER}) EXECUTE FUNCTION jobqueue_over_already()""",
    ],
}
"""The types that Postgres has by itself; and a row that pretends is examined like any other, which costs the others next to
nothing."""


def downgrade() -> None:
    """Nothing is taken away: what was written since would be lost."""
    raise NotImplementedError("this schema is not downgraded; restore the backup made before the upgrade")
