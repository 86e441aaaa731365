"""What a handler is given: its job, and the few things it may do about it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy.engine import Connection

from backends import Job, Owner


class Log(Protocol):
    """The part of a structlog logger that handlers use."""

    def debug(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...


class JobContext(Protocol):
    """Handed to every handler as its only argument.

    `job` is the claimed job; `checkpoint` is JSON kept across attempts: read it, assign it to save it (fenced).
    """

    job: Job

    @property
    def log(self) -> Log: ...
    @property
    def checkpoint(self) -> Any: ...
    @checkpoint.setter
    def checkpoint(self, value: Any) -> None: ...

    def progress(
        self, processed: int, total: int | None = None, message: str | None = None, *, successful: int | None = None,
        failed: int | None = None,
    ) -> None:
        """Report how far the job is. Cheap to call often: written at most once a second, and once more at the end."""

    def secret(self, name: str, of: Owner = Owner.JOB) -> str | None:
        """The secret of that name that came with this job, or belongs to its user or its program; None without one.

        The name is the path at which it stood in the parameters: `access_token`, `drive.access_token`, `accounts[0].password`.
        What was read is scrubbed from the outcome's texts, from progress and logs. A job whose secrets were deleted when it
        ended before gives up, and says so. Raises `KeyProblem` when it cannot be decrypted.
        """

    def should_stop(self) -> bool:
        """True once the job was cancelled, its deadline passed, its lease is ending or the worker drains: return soon."""

    def transaction(self) -> AbstractContextManager[Connection]:
        """A short database transaction that commits only if this attempt still holds the job. Raises `LeaseLost` if not."""
