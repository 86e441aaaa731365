"""IndexingService: jobs created, watched and changed from an application's own code, in its own SQLAlchemy Session."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.orm.util import identity_key

from backends import (
    AnySession,
    CancelAnswer,
    Counts,
    IndexingJob,
    NewJob,
    Queue,
    RetryAnswer,
    Settled,
    beside,
    engine_of,
    session_of,
    within,
)
from config import load

from .search import SearchPage, search_files


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
        return self._session.get_one(IndexingJob, job_id, populate_existing=True)

    def create_many(self, jobs: Sequence[NewJob]) -> list[int]:
        """Add many jobs at little more than the cost of one; returns their ids in order. Raises as `create_indexing_job`."""
        with within(self._session) as connection:
            return self._queue.enqueue(jobs, connection)

    def get_job(self, job_id: int) -> IndexingJob | None:
        """The job of that id as the database has it now; None when there is none."""
        with within(self._session, reading=True):
            return self._session.get(IndexingJob, job_id, populate_existing=True)

    def get_program_jobs(self, program_id: int, limit: int = 20, before: int | None = None) -> list[IndexingJob]:
        """At most `limit` jobs of a program, the newest first; `before` is the id at which the former page ended."""
        with within(self._session, reading=True) as connection:
            page = self._queue.page(program_id, limit=limit, before=before, connection=connection)
            newest = select(IndexingJob).where(IndexingJob.id.in_([each.id for each in page.jobs]))
            found = self._session.scalars(newest.order_by(IndexingJob.id.desc()).execution_options(populate_existing=True))
            return list(found)

    def get_queue_status(self, program_id: int | None = None) -> dict[str, Any]:
        """How many jobs there are in each status, and the oldest pending one, as `GET /job-queue/status` shows the `queue`.

        Of one program or of all; it costs the same however many jobs there are, and leaves no transaction open.
        """
        with beside(self._session) as connection:
            return _status(self._queue.counts(program_id, connection=connection))

    def cancel_job(self, job_id: int) -> CancelAnswer:
        """Cancel a queued job; ask a running one to stop, which it is made to. It takes effect when the transaction commits.

        Commit soon: until then no other job of the lane is started.
        """
        with within(self._session) as connection:
            answer = self._queue.cancel(job_id, connection=connection)
        self._expire(job_id)
        return answer

    def retry_job(self, job_id: int) -> RetryAnswer:
        """Put a finished job back into the queue, with its retries unspent."""
        with within(self._session) as connection:
            answer = self._queue.retry(job_id, connection=connection)
        self._expire(job_id)
        return answer

    def reset_stuck_jobs(self, program_id: int, lock_timeout: float | None = None) -> list[Settled]:
        """Put running jobs of a program back whose lease nobody has renewed for `lock_timeout` seconds; never one that is alive.

        The processors do that by themselves; this is for when none runs. Without `lock_timeout` the configuration's counts: the
        file that `JOBQUEUE_CONFIG` names, or ./jobqueue.yaml. Raises `config.ConfigError` when there is none.
        """
        dead_after = load().settings.lock_timeout if lock_timeout is None else lock_timeout
        with within(self._session) as connection:
            settled = self._queue.reset_stuck(program_id, dead_after, connection=connection)
        for each in settled:
            self._expire(each.job_id)
        return settled

    def search_files(self, program_id: int, query: str, limit: int = 20, cursor: str | None = None) -> SearchPage:
        """The program's files in whose name, path or text all words of `query` occur; see `apps.search.search_files`.

        Leaves no transaction open. Raises `BadQuery`.
        """
        with beside(self._session) as connection:
            return search_files(connection, program_id, query, limit, cursor)

    @property
    def _session(self) -> Session:
        return session_of(self._db)

    @property
    def _queue(self) -> Queue:
        return Queue(engine_of(self._session))

    def _expire(self, job_id: int) -> None:
        """Have the Session read this job again when somebody looks at it."""
        known = self._session.identity_map.get(identity_key(IndexingJob, job_id))
        if known is not None:
            self._session.expire(known)


def _status(counts: Counts) -> dict[str, Any]:
    oldest = counts.oldest_pending
    return {
        "pending_jobs": counts.pending,
        "running_jobs": counts.running,
        "completed_jobs": counts.completed,
        "failed_jobs": counts.failed,
        "cancelled_jobs": counts.cancelled,
        "scheduled_jobs": counts.scheduled,
        "waiting_jobs": counts.waiting,
        "oldest_pending_job": oldest and {
            "id": oldest.id,
            "created_at": oldest.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "job_type": oldest.job_type,
        },
    }
