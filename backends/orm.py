"""The queue's table as a class of SQLAlchemy's ORM, for an application's own Session.

Apart from the rest, because importing the ORM takes longer than most commands run: `from backends import IndexingJob` loads it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Mapped, registry

from .job import decoded_parameters
from .tables import indexing_jobs, metadata

_PRIVATE = ("ready_at", "waits_for", "checkpoint", "locked_boot", "locked_boot_seconds", "holds_secrets", "examined")
"""Columns that admission, workers and the fence alone may touch."""


class IndexingJob:
    """One row of `indexing_jobs`; its columns are those of the table, times are aware.

    It shares no declarative base with anybody, so it works in every Session beside an application's own models, whatever
    metadata those have. Change a job through `apps.indexing_service.IndexingService`, not by setting attributes: moves of
    `status` are the queue's. A new instance that is added to a Session is queued as any `INSERT` into the table is.
    """

    id: Mapped[int]
    program_id: Mapped[int]
    user_id: Mapped[int | None]
    job_type: Mapped[str]
    folder_id: Mapped[str | None]
    status: Mapped[str]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    total_files: Mapped[int]
    processed_files: Mapped[int]
    successful_files: Mapped[int]
    failed_files: Mapped[int]
    error_message: Mapped[str | None]
    priority: Mapped[int]
    retry_count: Mapped[int]
    max_retries: Mapped[int]
    scheduled_at: Mapped[datetime | None]
    locked_at: Mapped[datetime | None]
    locked_by: Mapped[str | None]
    job_parameters: Mapped[str | None]
    lease: Mapped[int]
    lane: Mapped[str | None]
    unique_key: Mapped[str | None]
    interruptions: Mapped[int]
    cancel_requested_at: Mapped[datetime | None]
    progress_message: Mapped[str | None]

    if TYPE_CHECKING:

        def __init__(self, **columns: Any) -> None: ...

    @property
    def parameters(self) -> dict[str, Any]:
        """The job's parameters, decoded, without secrets. Raises `BadParameters` when they are not a JSON object."""
        return decoded_parameters(self.id, self.job_parameters)

    def __repr__(self) -> str:
        # From what is loaded: a log line must not send a statement, nor fail for an object that left its Session.
        shown = {name: self.__dict__[name] for name in ("id", "job_type", "program_id", "status") if name in self.__dict__}
        return f"IndexingJob({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


registry(metadata=metadata).map_imperatively(IndexingJob, indexing_jobs, exclude_properties=_PRIVATE)
