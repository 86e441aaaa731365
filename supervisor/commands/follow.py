"""Following one job to its end: a progress bar on a terminal, one line for each change otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from . import output
from .opening import Opened
from .problems import Exit, Problem
from .wording import how_far, sentences

if TYPE_CHECKING:
    from backends import JobView

    Show = Callable[[JobView, list[str]], None]

LOOK_EVERY = 0.25
PATIENCE = 60.0
OUTCOMES = {"completed": Exit.OK, "failed": Exit.FAILED, "cancelled": Exit.REFUSED}


def follow(opened: Opened, job_id: int, as_json: bool) -> int:
    """Show how the job gets on until it is over; the exit code is its outcome. Interrupting it leaves the job alone."""
    try:
        with _display(as_json) as show:
            job = _until_over(opened, job_id, show)
    except KeyboardInterrupt:
        output.say(f"Job {job_id} goes on without being watched. supervisor jobs show {job_id}")
        raise
    if as_json:
        output.document(job.as_dict())
    elif output.for_people():
        output.line(f"job {job_id} {job.status}", how_far(job), job.error_message or job.progress_message)
    return OUTCOMES[job.status]


def _until_over(opened: Opened, job_id: int, show: Show) -> JobView:
    while True:
        job, reasons = _patiently(lambda: _look(opened, job_id))
        show(job, reasons)
        if job.status in OUTCOMES:
            return job
        time.sleep(LOOK_EVERY)


def _look(opened: Opened, job_id: int) -> tuple[JobView, list[str]]:
    job = opened.queue.get(job_id)
    if job is None:
        raise Problem(
            "JOB-NOT-FOUND", f"job {job_id} is gone; it was pruned or deleted", "supervisor jobs list", Exit.NOT_FOUND
        )
    return job, (opened.why(job_id) or []) if job.status == "pending" else []


def _patiently(look: Callable[[], tuple[JobView, list[str]]]) -> tuple[JobView, list[str]]:
    """Look again while the database is away, for `PATIENCE` seconds: the job does not end because we cannot see it."""
    from backends import DatabaseUnavailable

    give_up_at = None
    while True:
        try:
            return look()
        except DatabaseUnavailable:
            if give_up_at is None:
                output.say("The database cannot be reached; trying again.")
                give_up_at = time.monotonic() + PATIENCE
            if time.monotonic() > give_up_at:
                raise
        time.sleep(1)


def _display(as_json: bool) -> AbstractContextManager[Show]:
    if sys.stderr.isatty():
        return _bar()
    return _silence() if as_json else _lines()


@contextmanager
def _silence() -> Iterator[Show]:
    yield lambda job, reasons: None


@contextmanager
def _lines() -> Iterator[Show]:
    said: tuple[object, ...] = ()

    def show(job: JobView, reasons: list[str]) -> None:
        nonlocal said
        words = (job.id, job.status, how_far(job), sentences(reasons) or job.error_message or job.progress_message)
        if words != said:
            said = words
            output.line(*words)

    yield show


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None)

        def show(job: JobView, reasons: list[str]) -> None:
            words = output.plain(" ".join([f"job {job.id} {job.status}", sentences(reasons), job.progress_message or ""]).strip())
            progress.update(task, description=words, completed=job.processed_files, total=job.total_files or None)

        yield show
