"""Histories: what each actor asked for and what came back, a line of JSON each, written so that a kill loses nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine

from backends import EVERYTHING, CancelAnswer, DatabaseUnavailable, Queue, RetryAnswer, Scope
from workers import boot_time

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Event:
    """One line. `at` is seconds of `boot_time()`, the same clock for all processes of the machine.

    `op` is `enqueue`, `cancel`, `retry`, `haunt` or `run`. `what` of a run is `started`, `alive`, `returned` or `raised`; of the
    others `invoke`, then `ok`, `failed` (certainly not done) or `unknown`. `key` is an enqueue's unique key, or the folder
    of a job without one, `tag` that of the claim that a run belongs to. Enqueues of one `group`, unless it is empty, are one
    transaction. `verdict` is the outcome that a handler asks for by how it ends, empty where it does not say. What haunts
    is an attempt that tries to write, as `key` says, in the name of a superseded one, whose `lease` and `tag` it gives.
    """

    at: float
    actor: str
    op: str
    what: str
    job: int = 0
    lease: int = 0
    key: str = ""
    tag: str = ""
    group: str = ""
    verdict: str = ""


class Recorder:
    """One actor's history: a file of its own, one `write` for each line, so that a line is there whole or not at all."""

    def __init__(self, folder: Path, actor: str) -> None:
        self._actor = actor
        path = folder / f"{actor}.{os.getpid()}.history"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def note(
        self, op: str, what: str, job: int = 0, lease: int = 0, key: str = "", tag: str = "", group: str = "",
        verdict: str = "",
    ) -> None:
        """Append one event."""
        event = Event(boot_time(), self._actor, op, what, job, lease, key, tag, group, verdict)
        os.write(self._file, json.dumps(asdict(event)).encode() + b"\n")

    def close(self) -> None:
        """Nothing more will be said."""
        os.close(self._file)


class Operator(Queue):
    """A queue with an operator at it, who writes down whom he cancels and retries, and what he is answered."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        super().__init__(engine)
        self._folder = folder

    def cancel(self, job_id: int, scope: Scope = EVERYTHING, connection: Connection | None = None) -> CancelAnswer:
        """As every queue does it."""
        wanted = (CancelAnswer.CANCELLED, CancelAnswer.ASKED)
        return self._noted("cancel", job_id, lambda: Queue.cancel(self, job_id, scope, connection), wanted)

    def retry(self, job_id: int, scope: Scope = EVERYTHING, connection: Connection | None = None) -> RetryAnswer:
        """As every queue does it."""
        return self._noted("retry", job_id, lambda: Queue.retry(self, job_id, scope, connection), (RetryAnswer.RETRIED,))

    def _noted(self, op: str, job_id: int, work: Callable[[], Answer], wanted: tuple[Answer, ...]) -> Answer:
        recorder = Recorder(self._folder, "operator")
        recorder.note(op, "invoke", job_id)
        try:
            answer = work()
            recorder.note(op, "ok" if answer in wanted else "failed", job_id)
        except DatabaseUnavailable:
            recorder.note(op, "unknown", job_id)
            raise
        finally:
            recorder.close()
        return answer


def read_histories(folder: Path) -> list[Event]:
    """All that all actors said, in the order of time."""
    lines = [line for path in folder.glob("*.history") for line in path.read_text().splitlines()]
    return sorted((Event(**json.loads(line)) for line in lines), key=lambda event: event.at)
