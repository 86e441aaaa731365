"""IndexingService: jobs created, watched and changed from an application's own code, in its own SQLAlchemy Session."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from backends import AnySession, IndexingJob, NewJob, Queue, engine_of, session_of, within


class IndexingService:
    """The queue, seen from a Session: what is done here is part of the Session's transaction, and commits or vanishes with it.

    `db` is a synchronous `Session` or `scoped_session`, one for each thread and request as always. On Postgres any driver and
    any `search_path` will do. On SQLite the engine must come from `backends.open_engine`, and a transaction is the only writer
    from its first statement to its end: keep it short, and give what only reads
    `Session(engine.execution_options(jobqueue_read=True))`, which waits for nobody and keeps nobody waiting.

    Every method raises `UnusableSession` for a Session that will not do, `DatabaseUnavailable` when the database does not answer
    in time, and `SchemaMismatch` when the queue's tables are not there. After any error the Session goes on as before, without
    anything half written; only after a lost connection it must be rolled back, as SQLAlchemy says.
    """

    def __init__(self, db: AnySession) -> None:
        self._db = db
        engine_of(session_of(db))

    def create_indexing_job(
        self,
        program_id: int,
        user_id: int | None = None,
        folder_id: str | None = None,
        job_type: str = "full_scan",
        priority: int = 0,
        access_token: str | None = None,
        include_trashed: bool | None = None,
        *,
        scheduled_at: datetime | None = None,
        max_retries: int | None = None,
        unique_key: str | None = None,
        **parameters: Any,
    ) -> IndexingJob:
        """Add a job, after what the Session holds already; returns it as the database has it, attached to the Session.

        A higher `priority` is processed first. `access_token`, and what else is named like a secret, is kept encrypted, apart
        from the job, until that ends. `include_trashed` overrules the program's setting. `scheduled_at` (aware) delays it;
        `max_retries` replaces the job type's. Repeated with the same `unique_key` for the program, it returns the job that is
        there. Further keyword arguments become the job's parameters. Raises `BadParameters`, and `KeyProblem` for a secret that
        cannot be encrypted.
        """
        given = {"access_token": access_token, "include_trashed": include_trashed}
        new = NewJob(
            job_type=job_type,
            program_id=program_id,
            user_id=user_id,
            folder_id=folder_id,
            priority=priority,
            max_retries=max_retries,
            scheduled_at=scheduled_at,
            unique_key=unique_key,
            parameters={name: value for name, value in given.items() if value is not None} | parameters,
        )
        (job_id,) = self.create_many([new])
        return self._fresh(job_id)

    def create_many(self, jobs: Sequence[NewJob]) -> list[int]:
        """Add many jobs at little more than the cost of one; returns their ids in order. Raises as `create_indexing_job`."""
        session = session_of(self._db)
        with within(session) as connection:
            return Queue(engine_of(session)).enqueue(jobs, connection)

    def _fresh(self, job_id: int) -> IndexingJob:
        return session_of(self._db).get_one(IndexingJob, job_id, populate_existing=True)
