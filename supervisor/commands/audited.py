"""Changes by the person at the command line: each a transaction, with its entry in the audit."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from .opening import Opened


@dataclass(frozen=True, slots=True)
class Change:
    """A change that is being made in the transaction of `connection`."""

    connection: Connection
    reason: str | None

    def record(self, action: str, program_id: int | None = None, job_id: int | None = None, **detail: Any) -> None:
        """Have the audit say that this was done, if it is committed."""
        from backends import record_audit

        about: dict[str, Any] = {"program_id": program_id, "job_id": job_id, "detail": detail or None}
        record_audit(self.connection, actor(), "cli", action, reason=self.reason, **about)


@contextmanager
def change(opened: Opened, reason: str | None) -> Iterator[Change]:
    """A transaction to make a change in; `reason` is what the person said about it."""
    with opened.queue.engine.begin() as connection:
        yield Change(connection, reason)


def actor() -> str:
    """Who types, as far as the operating system knows: `user@host`."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
