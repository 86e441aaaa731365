"""Scenes for the tests of HTTP: a running job, what the audit says, a processor that is a switch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from apps.indexing.jobs import full_scan
from backends import Job, JobTypeFacts, NewJob, Queue, audit
from tests.apps.context import Installation

JOB_TYPE = "specific_folder"


def running(queue: Queue, program_id: int = 1, **given: Any) -> Job:
    """A job that a worker has claimed."""
    queue.register({JOB_TYPE: JobTypeFacts(None)}, "tester")
    queue.enqueue([NewJob(JOB_TYPE, program_id, **given)])
    [job] = queue.claim("tester:0001", [JOB_TYPE], 1)
    return job


def audited(engine: Engine) -> list[tuple[Any, ...]]:
    """Who did what to which job of which program, and why; oldest first."""
    with engine.connect() as connection:
        columns = (audit.c.actor, audit.c.action, audit.c.program_id, audit.c.job_id, audit.c.reason)
        return [tuple(row) for row in connection.execute(select(*columns).order_by(audit.c.id))]


def index(installation: Installation, folder: Path, files: Mapping[str, str]) -> int:
    """Write these files and index them; returns their program's id."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    program_id = installation.program("local", str(folder))
    installation.run(full_scan, program_id)
    return program_id


@dataclass
class Switch:
    """A processor that is nothing but its status: what HTTP says of one, without the seconds that a real one takes."""

    process_id: str | None = "processor_abc123"
    running: bool = False
    thread_alive: bool = True
    shutdown_requested: bool = False

    draining: bool = False

    def open(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def start(self) -> bool:
        """Be on."""
        was, self.running, self.shutdown_requested = self.running, True, False
        return not was

    def stop(self, wait: bool = True) -> bool:
        """Be off."""
        was, self.running, self.shutdown_requested = self.running, False, True
        return was

    def status(self) -> Switch:
        """Itself."""
        return self
