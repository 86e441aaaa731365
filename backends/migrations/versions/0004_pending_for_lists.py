"""The index of pending jobs that lists read, under a condition of its own: nothing else may be planned along it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES = [("jobqueue_listed_pending", ["program_id", "id"], "status = 'pending' AND id >= -9223372036854775807")]
"""Where there are jobs, Postgres makes it beforehand."""


def upgrade() -> None:
    """Replace the former index, which Postgres took for others' when it believed that nothing was pending."""
    for name, columns, where in INDEXES:
        op.create_index(
            name, "indexing_jobs", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where), if_not_exists=True
        )
    op.drop_index("jobqueue_pending", "indexing_jobs", if_exists=True)


def downgrade() -> None:
    """Nothing is taken away: what was written since would be lost."""
    raise NotImplementedError("this schema is not downgraded; restore the backup made before the upgrade")
