"""The words of the indexed files, so that they can be searched: FTS5 on SQLite, `tsvector` on Postgres."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index, empty: whoever scans a program next fills in what is missing."""
    for statement in _STATEMENTS[op.get_context().dialect.name]:
        op.execute(statement)


_STATEMENTS: dict[str, list[str]] = {
    "sqlite": [
        # `ascii` splits at ASCII's own punctuation alone: the words come as `backends.search_index` wants them, none is changed.
        """CREATE VIRTUAL TABLE jobqueue_search USING fts5(label, words, tokenize = 'ascii', detail = 'none', columnsize = 0)""",
        """CREATE TRIGGER jobqueue_file_deleted AFTER DELETE ON indexed_files BEGIN
            DELETE FROM jobqueue_search WHERE rowid = OLD.id;
        END""",
    ],
    "postgresql": [
        """CREATE TABLE jobqueue_search (
            file_id bigint PRIMARY KEY REFERENCES indexed_files (id) ON DELETE CASCADE,
            label tsvector NOT NULL,
            words tsvector NOT NULL,
            everything tsvector GENERATED ALWAYS AS (label || words) STORED
        )""",
        "CREATE INDEX jobqueue_search_everything ON jobqueue_search USING gin (everything)",
    ],
}


def downgrade() -> None:
    """Nothing is taken away: what was written since would be lost."""
    raise NotImplementedError("this schema is not downgraded; restore the backup made before the upgrade")
