"""The handlers of the indexing jobs, found by the names in jobqueue.yaml.

A job's `folder_id` limits any of them to that folder and what is below it: a relative path for a local program, a folder's
id for Google Drive. Its parameter `include_trashed` overrules the program's setting of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from backends import BadParameters, Owner
from workers import GiveUp, JobContext, RetryLater

from ..programs import LOCAL, BadProgram, Program, read_program
from .credentials import Wanted
from .extract import Extractor
from .local import LocalSource
from .scan import Scan
from .source import CoolDown, Source, SourceUnusable, Stopped

OVERRULED = ("include_trashed",)
"""Settings of a program that a job's parameters overrule."""


def full_scan(ctx: JobContext) -> None:
    """List everything, read what changed, and mark as removed what is gone."""
    _scan(ctx, lambda scan: scan.everything())


def specific_folder(ctx: JobContext) -> None:
    """The same for the job's `folder_id` and what is below it."""
    if not ctx.job.folder_id:
        raise GiveUp(
            f"job {ctx.job.id} is a specific_folder without a folder_id; enqueue it with one, or enqueue a full_scan instead"
        )
    _scan(ctx, lambda scan: scan.everything())


def incremental(ctx: JobContext) -> None:
    """Read what changed since the last time: by the source's list of changes, or by a full scan where there is none."""
    _scan(ctx, lambda scan: scan.changes())


def _scan(ctx: JobContext, verb: Callable[[Scan], None]) -> None:
    folder_id = ctx.job.folder_id
    program = _program(ctx)
    with _verdicts(), closing(_source(ctx, program)) as source, Extractor() as extractor:
        scan = Scan(ctx, program, source, extractor)
        scan.make_searchable()
        if folder_id:
            scan.folder(folder_id)
        else:
            verb(scan)


def _program(ctx: JobContext) -> Program:
    number = ctx.job.program_id
    try:
        with ctx.transaction() as connection:
            program = read_program(connection, number)
    except BadProgram as error:
        raise GiveUp(str(error)) from None
    if program is None:
        raise GiveUp(
            f"there is no program {number}; declare it under `programs` in jobqueue.yaml and restart the supervisor, "
            "or create it with `supervisor programs add`, then retry this job"
        )
    return program


def _source(ctx: JobContext, program: Program) -> Source:
    if program.source == LOCAL:
        if not program.folder:
            raise GiveUp(f"program {program.id} ({program.name}) has no folder; set one, then retry this job")
        return LocalSource(program.folder)
    from .drive import open_drive

    settings, job = _settings(ctx, program), ctx.job
    ids = {Owner.JOB: job.id, Owner.USER: job.user_id, Owner.PROGRAM: program.id}
    wanted = Wanted(program.name, settings, ctx.secret, job.parameters, ids)
    return open_drive(program.folder, settings, wanted, ctx.should_stop)


def _settings(ctx: JobContext, program: Program) -> dict[str, Any]:
    try:
        parameters = ctx.job.parameters
    except BadParameters as error:
        raise GiveUp(f"{error}; correct the row, then retry this job") from None
    return {**program.settings, **{key: parameters[key] for key in OVERRULED if key in parameters}}


@contextmanager
def _verdicts() -> Iterator[None]:
    """What the errors of a source mean for the job. One that was told to stop returns, and the worker knows why."""
    try:
        yield
    except Stopped:
        return
    except CoolDown as error:
        raise RetryLater(error.after, str(error)) from None
    except SourceUnusable as error:
        raise GiveUp(str(error)) from None
