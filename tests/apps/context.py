"""What the handlers are given in these tests: a context over a real row of a real database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.engine import Connection

from apps.programs import add_program
from backends import Job, Owner, file_texts, indexed_files, indexing_jobs, read_secret
from workers import JobContext

Row = Any


class DatabaseContext:
    """A `JobContext` over one running job; `stop` is asked by `should_stop`. `reports` is all progress that was reported."""

    def __init__(self, engine: Engine, job: Job, stop: Callable[[], bool] = lambda: False) -> None:
        self.engine, self.job, self._stop = engine, job, stop
        self.reports: list[dict[str, Any]] = []
        self.log = structlog.get_logger("test")
        self._checkpoint: str | None = None

    @property
    def checkpoint(self) -> Any:
        return json.loads(self._checkpoint) if self._checkpoint else None

    @checkpoint.setter
    def checkpoint(self, value: Any) -> None:
        self._checkpoint = json.dumps(value)

    def progress(
        self, processed: int, total: int | None = None, message: str | None = None, *, successful: int | None = None,
        failed: int | None = None,
    ) -> None:
        self.reports.append(
            {"processed": processed, "total": total, "message": message, "successful": successful, "failed": failed}
        )

    def secret(self, name: str, of: Owner = Owner.JOB) -> str | None:
        owner_id = {Owner.JOB: self.job.id, Owner.USER: self.job.user_id, Owner.PROGRAM: self.job.program_id}[of]
        with self.engine.connect() as connection:
            return None if owner_id is None else read_secret(connection, of, owner_id, name)

    def should_stop(self) -> bool:
        return self._stop()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with self.engine.begin() as connection:
            mine = select(indexing_jobs.c.id).where(indexing_jobs.c.id == self.job.id, indexing_jobs.c.status == "running")
            assert connection.scalar(mine.with_for_update(read=True, key_share=True)) == self.job.id
            yield connection


Handler = Callable[[JobContext], object]


class Installation:
    """A database with programs, and jobs that are run in it one after the other."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def program(self, source: str, folder: str | None, settings: Mapping[str, Any] | None = None) -> int:
        """Add a program; returns its id."""
        with self.engine.begin() as connection:
            return add_program(connection, "Test", source, folder, settings)

    def context(
        self, program_id: int, folder_id: str | None = None, parameters: Mapping[str, Any] | None = None,
        stop: Callable[[], bool] = lambda: False, lease: int = 1,
    ) -> DatabaseContext:
        """The context of a new job."""
        values = {
            "program_id": program_id, "job_type": "test", "folder_id": folder_id,
            "job_parameters": json.dumps(parameters) if parameters else None,
        }
        names = [getattr(indexing_jobs.c, name) for name in Job._fields]
        with self.engine.begin() as connection:
            number = connection.execute(insert(indexing_jobs).values(values).returning(indexing_jobs.c.id)).scalar_one()
            claimed = {"status": "running", "locked_by": "test", "lease": lease}
            connection.execute(update(indexing_jobs).where(indexing_jobs.c.id == number).values(claimed))
            row = connection.execute(select(*names).where(indexing_jobs.c.id == number)).one()
        return DatabaseContext(self.engine, Job._make(row), stop)

    def run(self, handler: Handler, program_id: int, folder_id: str | None = None, **more: Any) -> dict[str, Any]:
        """Run a handler for a new job; returns its last report of progress."""
        ctx = self.context(program_id, folder_id, **more)
        handler(ctx)
        return ctx.reports[-1] if ctx.reports else {}

    def files(self, program_id: int | None = None) -> dict[str, Row]:
        """The rows of `indexed_files` that are not removed, by path."""
        return {row.path: row for row in self.rows(program_id) if row.status != "removed"}

    def rows(self, program_id: int | None = None) -> list[Row]:
        """All rows of `indexed_files` with their texts (None where there is none), in the order of their ids."""
        texts = (file_texts.c.content, file_texts.c.content_truncated)
        statement = select(indexed_files, *texts).outerjoin(file_texts).order_by(indexed_files.c.id)
        if program_id is not None:
            statement = statement.where(indexed_files.c.program_id == program_id)
        with self.engine.connect() as connection:
            return list(connection.execute(statement))

    def alter(self, path: str, **values: Any) -> None:
        """Change the row of one file behind the indexer's back."""
        with self.engine.begin() as connection:
            connection.execute(update(indexed_files).where(indexed_files.c.path == path).values(values))
