"""The context of a running attempt: a `JobContext` over the queue and the worker's slot."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import structlog
from sqlalchemy.engine import Connection

from backends import BadParameters, DatabaseUnavailable, Job, Owner, Queue, read_secret

from .scrubbing import remember, scrub
from .slot import Cause, Phase, Slot, boot_time
from .verdicts import GiveUp

WRITE_PROGRESS_EVERY = 1.0
"""Seconds between two writes of a job's progress."""


class LiveContext:
    """What the handler of one attempt is given. Lives for that attempt only."""

    __slots__ = (
        "_checkpoint", "_enter", "_fenced_at", "_leaving", "_log", "_queue", "_slot", "_tag", "_unwritten", "_written_at",
        "deadline", "job", "told_to_stop",
    )

    def __init__(
        self, queue: Queue, slot: Slot, tag: str, job: Job, deadline: float, enter: Callable[[Phase], None],
        leaving: Callable[[], bool], fenced_at: Callable[[], float],
    ) -> None:
        self._queue, self._slot, self._tag, self.job, self.deadline = queue, slot, tag, job, deadline
        self._enter, self._leaving, self._fenced_at = enter, leaving, fenced_at
        self._unwritten: dict[str, Any] = {}
        self._written_at = -math.inf
        self._checkpoint = job.checkpoint
        self._log: Any = None
        self.told_to_stop: Cause | None = None

    @property
    def log(self) -> Any:
        """A structured logger that knows the job."""
        if self._log is None:
            job = self.job
            self._log = structlog.get_logger("jobqueue.handler").bind(
                job_id=job.id, job_type=job.job_type, program_id=job.program_id, attempt=job.lease,
                process_id=self._tag.rpartition(":")[0], pid=os.getpid(),
            )
        return self._log

    @property
    def checkpoint(self) -> Any:
        """What an earlier attempt kept, or None."""
        return json.loads(self._checkpoint) if self._checkpoint else None

    @checkpoint.setter
    def checkpoint(self, value: Any) -> None:
        try:
            text = None if value is None else json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise BadParameters(f"job {self.job.id}: the checkpoint cannot be stored as JSON: {error}") from None
        if text is not None and scrub(text) != text:
            raise BadParameters(f"job {self.job.id}: the checkpoint holds a secret; ask for that with ctx.secret in each attempt")
        self._queue.checkpoint(self._tag, self.job, text)
        self._checkpoint = text

    def progress(
        self, processed: int, total: int | None = None, message: str | None = None, *, successful: int | None = None,
        failed: int | None = None,
    ) -> None:
        """Report how far the job is; written at most once a second, and once more at the end."""
        values = {"processed_files": processed, "total_files": total, "progress_message": message,
                  "successful_files": successful, "failed_files": failed}
        self._unwritten |= {name: value for name, value in values.items() if value is not None}
        if time.monotonic() - self._written_at >= WRITE_PROGRESS_EVERY:
            self.write_progress()

    def write_progress(self) -> None:
        """Write what was reported and not yet written. An outage only delays it. Raises `LeaseLost`."""
        if self._unwritten:
            try:
                self._queue.progress(self._tag, self.job, _stored(self._unwritten))
                self._unwritten = {}
            except DatabaseUnavailable:
                pass
            self._written_at = time.monotonic()

    def secret(self, name: str, of: Owner = Owner.JOB) -> str | None:
        """A secret of this job, its user or its program; None without one. Scrubbed from now on from what this attempt says."""
        owners = {Owner.JOB: self.job.id, Owner.USER: self.job.user_id, Owner.PROGRAM: self.job.program_id}
        owner_id = owners[of]
        if owner_id is None:
            return None
        value = self._queue.read(lambda connection: read_secret(connection, of, owner_id, name))
        if value is not None:
            remember(value)
        elif of is Owner.JOB and self.job.holds_secrets is False:
            raise GiveUp(
                f"the secrets of job {owner_id} were deleted when it ended before; store what it needs, then retry it: "
                f"supervisor secrets set --job {owner_id} NAME"
            )
        return value

    def should_stop(self) -> bool:
        """True once there is a reason to return soon."""
        if self.told_to_stop is None:
            self.told_to_stop = self._cause()
        return self.told_to_stop is not None

    def _cause(self) -> Cause | None:
        """Why the handler should return: NONE stands for a drain, no reason at all is None."""
        if self.deadline and boot_time() > self.deadline:
            return Cause.DEADLINE
        wish = self._slot.wish
        if wish.stop_job == self.job.id and wish.stop_lease == self.job.lease and wish.cause:
            return Cause(wish.cause)
        cancel = self._slot.cancel
        if cancel.job_id == self.job.id and cancel.lease == self.job.lease:
            return Cause.CANCEL
        if boot_time() > self._fenced_at():
            return Cause.LEASE
        return Cause.NONE if self._leaving() else None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A short fenced transaction. Waits through an outage as long as the lease lasts. Raises `LeaseLost`."""
        with ExitStack() as stack:
            stack.callback(self._enter, Phase.RUNNING)
            yield self._begin(stack)

    def _begin(self, stack: ExitStack) -> Connection:
        wait = 0.05
        while True:
            self._enter(Phase.FENCED)
            try:
                return stack.enter_context(self._queue.transaction(self._tag, self.job))
            except DatabaseUnavailable:
                self._enter(Phase.RUNNING)
                if boot_time() + wait > self._fenced_at() or self.should_stop():
                    raise
            time.sleep(wait)
            wait = min(2 * wait, 1.0)


def _stored(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _storable(value) if isinstance(value, str) else max(0, min(int(value), 2**31 - 1))
        for name, value in values.items()
    }


def _storable(text: str) -> str:
    return scrub(text).replace("\0", "\ufffd")[:2000].encode("utf-8", "replace").decode("utf-8")
