"""Jobs over HTTP: the queue's status, lists and details, adding, cancelling and retrying."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from backends import ATTEMPTS_SHOWN, CancelAnswer, JobView, NewJob, Queue, RetryAnswer, Role, Scope

from .answers import NOT_MODIFIED, once, polled
from .bodies import StrictRoute
from .callers import Caller, CallerOf
from .given import UNSAID, Because, JobFilter, JobRequest
from .kinds import JobId, ProgramId
from .models import Attempt, Changed, JobAnswer, JobChange, JobDetail, JobList, QueueCounts, StatusAnswer, columns
from .notes import note
from .openapi import Responses, also, refusals
from .paging import cursor_of, read_cursor
from .permission import program_of, require
from .problems import Conflict, Forbidden, NotFound
from .processor import state_of
from .services import services_of

HINT = "X-Job-Hint"
UNSERVED = "No supervisor has ever served this job type: the job waits until one does. Is its name right?"
HINTED: Responses = {201: {"headers": {HINT: {"description": f'"{UNSERVED}"', "schema": {"type": "string"}}}}}

Verb = Callable[[Queue, int, Scope, Connection], CancelAnswer | RetryAnswer]

IN_VAIN: dict[CancelAnswer | RetryAnswer, str] = {
    CancelAnswer.FINAL: "The job is over already; there is nothing to cancel.",
    RetryAnswer.ACTIVE: "The job is pending or running; there is nothing to retry.",
}

router = APIRouter(prefix="/job-queue", tags=["jobs"], route_class=StrictRoute)

@router.get("/status", response_model=StatusAnswer, responses=NOT_MODIFIED | refusals())
def status(request: Request, caller: CallerOf) -> Response:
    """How many jobs there are in the programs that the caller sees, and how the processor is."""
    services = services_of(request)
    counts = services.queue.counts(scope=caller.scope())
    processor = state_of(services)
    return polled(
        request, StatusAnswer(queue=QueueCounts.of(counts), processor=processor, is_processor_running=processor.running)
    )


@router.get("/jobs/{program_id}", response_model=JobList, responses=NOT_MODIFIED | refusals(404))
def list_jobs(
    request: Request, caller: CallerOf, program_id: ProgramId, wanted: Annotated[JobFilter, Query()]
) -> Response:
    """A program's jobs, newest first, a page at a time."""
    queue, before = services_of(request).queue, read_cursor(wanted.cursor)

    def look(connection: Connection) -> JobList:
        require(connection, caller, program_id)
        page = queue.page(program_id, wanted.status, wanted.job_type, wanted.limit, before, caller.scope(), connection)
        return JobList(jobs=[JobAnswer.of(each) for each in page.jobs], next_cursor=cursor_of(page.next_before))

    return polled(request, queue.read(look))


@router.get("/jobs/{program_id}/{job_id:digits}", response_model=JobDetail, responses=NOT_MODIFIED | refusals(404))
def show_job(request: Request, caller: CallerOf, program_id: ProgramId, job_id: JobId) -> Response:
    """A job with its attempts that ended other than completed, and with what it waits for."""
    queue = services_of(request).queue
    return polled(request, queue.read(lambda connection: _detail(queue, connection, caller, program_id, job_id)))


def _detail(queue: Queue, connection: Connection, caller: Caller, program_id: int, job_id: int) -> JobDetail:
    found = queue.get(job_id, caller.scope(), connection)
    if found is None or found.program_id != program_id:
        raise NotFound
    attempts = [Attempt.of(each) for each in queue.attempts(job_id, connection, ATTEMPTS_SHOWN + 1)]
    waits_for = queue.why(job_id, scope=caller.scope(), connection=connection) if found.status == "pending" else None
    newest, more = attempts[-ATTEMPTS_SHOWN:], len(attempts) > ATTEMPTS_SHOWN
    return JobDetail(**columns(found), attempts=newest, more_attempts=more, waits_for=waits_for)


@router.post(
    "/jobs",
    status_code=201,
    response_model=JobAnswer,
    responses=HINTED | also(200, JobAnswer, "The job that this unique_key gave before.") | refusals(403, 404),
)
def add_job(request: Request, caller: CallerOf, wanted: JobRequest) -> Response:
    """Add a job. Repeated with the same `unique_key` it answers with the job there is, and adds none."""
    services = services_of(request)
    with services.change() as connection:
        require(connection, caller, wanted.program_id, Role.OPERATOR)
        new = _new_job(caller, wanted)
        added = services.queue.enqueue_once(new, connection)
        if added.is_new:
            note(connection, caller, "job.create", wanted.reason, new.program_id, added.id)
        job = services.queue.get(added.id, connection=connection)
        hint = {} if services.queue.was_served(new.job_type, connection) else {HINT: UNSERVED}
    if job is None:
        raise NotFound
    return once(JobAnswer.of(job), 201 if added.is_new else 200, {"Location": _place_of(request, job)} | hint)


def _new_job(caller: Caller, wanted: JobRequest) -> NewJob:
    return NewJob(
        job_type=wanted.job_type,
        program_id=wanted.program_id,
        user_id=_user_of(caller, wanted),
        folder_id=wanted.folder_id,
        priority=wanted.priority,
        max_retries=wanted.max_retries,
        scheduled_at=wanted.scheduled_at,
        unique_key=wanted.unique_key,
        parameters=wanted.job_parameters,
    )


def _user_of(caller: Caller, wanted: JobRequest) -> int | None:
    if "user_id" not in wanted.model_fields_set or wanted.user_id == caller.user_id:
        return caller.user_id
    if not caller.is_admin:
        raise Forbidden("an administrator of this installation: nobody else may name another user_id")
    return wanted.user_id


def _place_of(request: Request, job: JobView) -> str:
    path = request.app.url_path_for("show_job", program_id=str(job.program_id), job_id=str(job.id))
    return str(request.scope.get("root_path", "")) + str(path)


@router.post(
    "/jobs/{job_id}/cancel",
    response_model=JobChange,
    responses=also(202, JobChange, "It runs: it was asked to stop, and will be made to.") | refusals(403, 404, 409),
)
def cancel_job(request: Request, caller: CallerOf, job_id: JobId, because: Because = UNSAID) -> Response:
    """Cancel a queued job at once; ask a running one to stop."""
    return _steer(request, caller, job_id, because, "job.cancel", Queue.cancel)


@router.post("/jobs/{job_id}/retry", response_model=JobChange, responses=refusals(403, 404, 409))
def retry_job(request: Request, caller: CallerOf, job_id: JobId, because: Because = UNSAID) -> Response:
    """Put a job that is over back into the queue, with all its retries."""
    return _steer(request, caller, job_id, because, "job.retry", Queue.retry)


def _steer(request: Request, caller: Caller, job_id: int, because: Because, action: str, do: Verb) -> Response:
    services = services_of(request)
    with services.change() as connection:
        program_id = program_of(connection, caller, job_id, Role.OPERATOR)
        answer = do(services.queue, job_id, caller.scope(Role.OPERATOR), connection)
        if answer in (CancelAnswer.MISSING, RetryAnswer.MISSING):
            raise NotFound
        if answer in IN_VAIN:
            raise Conflict(IN_VAIN[answer])
        note(connection, caller, action, because.reason, program_id, job_id)
    done = JobChange(job_id=job_id, answer=Changed(answer.value))
    return once(done, 202 if answer is CancelAnswer.ASKED else 200)
