"""What answers hold, with the specification's own examples."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from backends import AttemptView, Counts, JobView, Settled, Status

from ..search import Found
from . import examples
from .examples import example
from .kinds import Instant


class Answer(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)


class OldestPendingJob(Answer):
    """The job that has waited longest."""

    id: int
    created_at: Instant
    job_type: str

    @classmethod
    def of(cls, job: JobView) -> Self:
        """A job as it is shown here."""
        return cls(id=job.id, created_at=job.created_at, job_type=job.job_type)


class QueueCounts(Answer):
    """How many jobs there are, of the programs that the caller sees. Scheduled and waiting ones are among the pending."""

    pending_jobs: int
    running_jobs: int
    completed_jobs: int
    failed_jobs: int
    cancelled_jobs: int
    scheduled_jobs: int
    waiting_jobs: int
    oldest_pending_job: OldestPendingJob | None

    @classmethod
    def of(cls, counts: Counts) -> Self:
        """The counters as they are shown."""
        oldest = counts.oldest_pending
        return cls(
            pending_jobs=counts.pending,
            running_jobs=counts.running,
            completed_jobs=counts.completed,
            failed_jobs=counts.failed,
            cancelled_jobs=counts.cancelled,
            scheduled_jobs=counts.scheduled,
            waiting_jobs=counts.waiting,
            oldest_pending_job=OldestPendingJob.of(oldest) if oldest else None,
        )


class ProcessorState(Answer):
    """How the processor is that belongs to this API. `thread_alive` is about the thread that watches it."""

    process_id: str | None
    running: bool
    thread_alive: bool
    shutdown_requested: bool


class StatusAnswer(Answer):
    """The queue and its processor."""

    model_config = example(examples.STATUS)

    queue: QueueCounts
    processor: ProcessorState
    is_processor_running: bool


class JobAnswer(Answer):
    """A job: the columns of its row; of `job_parameters` what is not secret.

    Parameters that are no JSON object are `{"invalid": text}`, those too large `{"omitted": size}`; a text that was cut ends in
    ` [30000 bytes in all]`. A list shows 4,000 bytes of parameters and texts of 2,000, a single job as much as may be enqueued.
    """

    model_config = example(examples.JOB)

    id: int
    program_id: int
    user_id: int | None
    job_type: str
    folder_id: str | None
    status: Status
    created_at: Instant
    started_at: Instant | None
    completed_at: Instant | None
    total_files: int
    processed_files: int
    successful_files: int
    failed_files: int
    progress_message: str | None
    error_message: str | None
    priority: int
    retry_count: int
    max_retries: int
    interruptions: int
    scheduled_at: Instant | None
    locked_at: Instant | None
    locked_by: str | None
    unique_key: str | None
    cancel_requested_at: Instant | None
    job_parameters: dict[str, Any]

    @classmethod
    def of(cls, job: JobView) -> Self:
        """A job as it is shown."""
        return cls(**columns(job))


def columns(job: JobView) -> dict[str, Any]:
    """What a `JobAnswer` holds."""
    shown = {name: getattr(job, name) for name in JobAnswer.model_fields if name != "job_parameters"}
    return shown | {"job_parameters": job.parameters}


class JobList(Answer):
    """A page of jobs, newest first. `next_cursor` is null on the last page; a page may hold fewer jobs than its limit."""

    model_config = example(examples.LIST)

    jobs: list[JobAnswer]
    next_cursor: str | None


class Attempt(Answer):
    """An attempt that ended other than completed."""

    lease: int
    outcome: str
    reason: str
    locked_by: str | None
    started_at: Instant | None
    ended_at: Instant

    @classmethod
    def of(cls, attempt: AttemptView) -> Self:
        """An attempt as it is shown: without its traceback, which is for the log."""
        return cls(**{name: getattr(attempt, name) for name in cls.model_fields})


class JobDetail(JobAnswer):
    """A job, its newest 100 attempts that ended other than completed, and what it waits for while it is pending.

    `more_attempts` says that there are older ones, which are not shown.
    """

    model_config = example(examples.DETAIL)

    attempts: list[Attempt]
    more_attempts: bool
    waits_for: list[str] | None


class Changed(StrEnum):
    """What was done to a job."""

    CANCELLED = "cancelled"
    ASKED = "asked"
    RETRIED = "retried"


class JobChange(Answer):
    """What was done to a job: it is `cancelled`, was `asked` to stop and will be made to, or is in the queue again."""

    model_config = example({"job_id": 123, "answer": "cancelled"})

    job_id: int
    answer: Changed


class ProcessorChange(Answer):
    """What start or stop came to; `changed` is false when there was nothing to do."""

    model_config = example(examples.PROCESSOR_CHANGE)

    changed: bool
    processor: ProcessorState
    is_processor_running: bool


class ResetJob(Answer):
    """A job that was handed back, and what it is now."""

    id: int
    status: Status


class ResetAnswer(Answer):
    """The running jobs of the program whose lease was dead, and which were handed back."""

    model_config = example({"program_id": 1, "reset_jobs": 1, "jobs": [{"id": 123, "status": "pending"}]})

    program_id: int
    reset_jobs: int
    jobs: list[ResetJob]

    @classmethod
    def of(cls, program_id: int, settled: list[Settled]) -> Self:
        """What was handed back."""
        jobs = [ResetJob(id=each.job_id, status=each.status) for each in settled]
        return cls(program_id=program_id, reset_jobs=len(jobs), jobs=jobs)


class FoundFile(Answer):
    """A file that has all the words. `snippet` is plain text, empty without one: escape it where it is shown as markup."""

    file_id: str
    name: str
    path: str
    mime_type: str
    modified_at: Instant | None
    snippet: str

    @classmethod
    def of(cls, found: Found) -> Self:
        """A file as it is shown."""
        return cls(**{name: getattr(found, name) for name in cls.model_fields})


class SearchAnswer(Answer):
    """A page of files, the best first. `next_cursor` is null on the last page."""

    model_config = example(examples.SEARCH)

    results: list[FoundFile]
    next_cursor: str | None


class Alive(Answer):
    """This process answers."""

    model_config = example({"status": "ok"})

    status: str = "ok"


class Readiness(Answer):
    """Whether this process can do its work, and what is in the way."""

    model_config = example({"ready": True, "reasons": []})

    ready: bool
    reasons: list[str]
