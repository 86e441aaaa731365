"""`jobs`: put jobs into the queue, look at them, cancel and retry them, and say what one waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from . import output
from .audited import change
from .enqueue import enqueue
from .opening import Opened, open_queue
from .options import AsJson, ConfigFile, JobId, JobIds, Reason, small
from .problems import Exit, Problem, did_you_mean, usage
from .wording import how_far, sentences, when

if TYPE_CHECKING:
    from backends import AttemptView, JobView, Queue, Status


class Verb(NamedTuple):
    """What can be done to a job: its name in the audit, the method of the queue, and what that may answer.

    `words` has for each answer how it is worded after `job 5`, and its exit code.
    """

    action: str
    of: Callable[[Queue], Callable[..., str]]
    words: dict[str, tuple[str, Exit]]


CANCEL = Verb(
    "job.cancel",
    lambda queue: queue.cancel,
    {
        "cancelled": ("cancelled", Exit.OK),
        "asked": ("is running; it was asked to stop", Exit.OK),
        "final": ("is over already; nothing to cancel", Exit.REFUSED),
        "missing": ("does not exist", Exit.NOT_FOUND),
    },
)
RETRY = Verb(
    "job.retry",
    lambda queue: queue.retry,
    {
        "retried": ("is in the queue again", Exit.OK),
        "active": ("is pending or running; nothing to retry", Exit.REFUSED),
        "missing": ("does not exist", Exit.NOT_FOUND),
    },
)

app = typer.Typer(name="jobs", help="Enqueue jobs, look at them, cancel and retry them.", no_args_is_help=True)
app.command()(enqueue)

REFUSALS = {Exit.NOT_FOUND: "JOB-NOT-FOUND", Exit.REFUSED: "JOB-STATUS"}
COLUMNS = ("id", "status", "type", "program", "progress", "retries", "created", "worker", "message")


@app.command("list")
def list_jobs(
    program: Annotated[
        int | None, typer.Option("--program", metavar="N", callback=small, help="Only this program's jobs.")
    ] = None,
    status: Annotated[str | None, typer.Option("--status", metavar="STATUS", help="Only jobs of this status.")] = None,
    job_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only jobs of this type.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="At most this many.")] = 20,
    before: Annotated[
        int | None, typer.Option("--before", metavar="ID", min=1, max=2**63 - 1, help="Only jobs older than this one.")
    ] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """List jobs, the newest first."""
    wanted = _read_status(status)
    with open_queue(config) as opened:
        jobs, next_before = _newest(opened.queue, program, wanted, job_type, limit, before)
    if as_json:
        output.document([job.as_dict() for job in jobs])
        return Exit.OK
    output.table(COLUMNS, map(_row, jobs))
    if not jobs:
        output.say(
            "No job matches."
            if program or status or job_type or before
            else "No jobs yet. supervisor jobs enqueue --help"
        )
    elif next_before is not None:
        output.say(f"There may be more: --before {next_before}")
    return Exit.OK


def _newest(
    queue: Queue, program: int | None, status: Status | None, job_type: str | None, limit: int, before: int | None
) -> tuple[list[JobView], int | None]:
    """`limit` jobs, or all there are, and where to go on: a page may end before it is full."""
    jobs: list[JobView] = []
    while True:
        page = queue.page(program, status, job_type, limit - len(jobs), before)
        jobs, before = jobs + page.jobs, page.next_before
        if before is None or len(jobs) == limit:
            return jobs, before


@app.command()
def show(job_id: JobId, as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Show everything about one job, its attempts that failed included."""
    with open_queue(config) as opened:
        job = opened.queue.get(job_id)
        if job is None:
            raise no_such_job(job_id)
        attempts, more = _attempts(opened.queue, job_id)
        waits_for = opened.why(job_id) if job.status == "pending" else None
    if as_json:
        output.document(
            job.as_dict()
            | {"attempts": [each.as_dict() for each in attempts], "more_attempts": more, "waits_for": waits_for}
        )
        return Exit.OK
    output.fields(job.as_dict() | ({"waits_for": sentences(waits_for)} if waits_for else {}))
    for attempt in attempts:
        output.line(*_attempt_words(attempt))
    if more:
        output.say(f"These are its newest {len(attempts)} attempts; there are older ones.")
    return Exit.OK


def _attempts(queue: Queue, job_id: int) -> tuple[list[AttemptView], bool]:
    """The newest attempts, and whether there are more."""
    from backends import ATTEMPTS_SHOWN

    found = queue.attempts(job_id, limit=ATTEMPTS_SHOWN + 1)
    return found[-ATTEMPTS_SHOWN:], len(found) > ATTEMPTS_SHOWN


@app.command()
def cancel(job_ids: JobIds, reason: Reason = None, as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Cancel jobs: a queued one at once, a running one is asked to stop and then made to."""
    return _for_each(job_ids, CANCEL, reason, as_json, config)


@app.command()
def retry(job_ids: JobIds, reason: Reason = None, as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Put jobs that are over back into the queue, with all their retries."""
    return _for_each(job_ids, RETRY, reason, as_json, config)


@app.command()
def why(job_id: JobId, as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Say exactly what a job is waiting for."""
    with open_queue(config) as opened:
        reasons = opened.why(job_id)
    if reasons is None:
        raise no_such_job(job_id)
    if as_json:
        output.document({"id": job_id, "reasons": reasons})
    else:
        for reason in reasons:
            output.line(reason)
    return Exit.OK


def no_such_job(job_id: int) -> Problem:
    """The problem of a job id that is in no row."""
    return Problem(
        "JOB-NOT-FOUND", f"there is no job {job_id}", "It may have been pruned. supervisor jobs list", Exit.NOT_FOUND
    )


def _for_each(job_ids: Sequence[int], verb: Verb, reason: str | None, as_json: bool, config: Path | None) -> int:
    """Do `verb` to each job, say what came of each, and return the worst exit code."""
    with open_queue(config) as opened:
        answers = {job_id: _change_one(opened, job_id, verb, reason) for job_id in dict.fromkeys(job_ids)}
    if as_json:
        output.document([{"id": job_id, "answer": answer} for job_id, answer in answers.items()])
    for job_id, answer in answers.items():
        sentence, code = verb.words[answer]
        if code is not Exit.OK:
            output.say(f"error[{REFUSALS[code]}] job {job_id} {sentence}")
        elif not as_json:
            output.line(*((f"job {job_id} {sentence}",) if output.for_people() else (job_id, answer)))
    return max(verb.words[answer][1] for answer in answers.values())


def _change_one(opened: Opened, job_id: int, verb: Verb, reason: str | None) -> str:
    with change(opened, reason) as made:
        answer = str(verb.of(opened.queue)(job_id, connection=made.connection))
        if verb.words[answer][1] is Exit.OK:
            made.record(verb.action, job_id=job_id, answer=answer)
    return answer


def _read_status(typed: str | None) -> Status | None:
    from backends import Status

    if typed is None:
        return None
    if typed not in [*Status]:
        raise usage(
            f"--status: no status is called {typed!r}{did_you_mean(typed, [*map(str, Status)])}",
            "supervisor jobs list --help",
        )
    return Status(typed)


def _row(job: JobView) -> tuple[Any, ...]:
    retries = f"{job.retry_count}/{job.max_retries}"
    message = job.error_message or job.progress_message
    return (
        job.id,
        job.status,
        job.job_type,
        job.program_id,
        how_far(job),
        retries,
        when(job.created_at),
        job.locked_by,
        message,
    )


def _attempt_words(attempt: AttemptView) -> tuple[Any, ...]:
    return (
        "attempt",
        attempt.lease,
        attempt.outcome,
        attempt.reason,
        attempt.locked_by,
        attempt.started_at,
        attempt.ended_at,
    )
