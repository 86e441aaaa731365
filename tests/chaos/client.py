"""A program that uses the queue while everything breaks: it adds jobs in every way there is, cancels some and retries some.

Run as `python -m tests.chaos.client URL FOLDER NAME SEED [POOLER [MOST_PENDING]]`; it ends when a file
`FOLDER/enough` appears, and may be killed.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from sqlalchemy import text

from backends import DatabaseUnavailable, NewJob, Queue, as_unavailable, open_engine

from .history import Recorder

MOST_PENDING = 150
"""Jobs that may wait before a client pauses: a backlog would only hide what happens."""

PROGRAMS = 3


class RolledBack(Exception):
    """The client changed its mind."""


class Client:
    """One life of a client."""

    def __init__(
        self, url: str, folder: Path, name: str, seed: str, pooler: str = "none", most_pending: str = str(MOST_PENDING)
    ) -> None:
        self._folder, self._name = folder, f"{name}.{time.time_ns()}"
        self._most_pending = int(most_pending)
        self._random = Random(seed)
        self._recorder = Recorder(folder, f"client-{name}")
        self._engine = open_engine(url, connect_timeout=1, statement_timeout=3, pooler=pooler)
        self._queue = Queue(self._engine)
        self._number = 0
        self._known: list[int] = []

    def run(self) -> None:
        """Do something, again and again, until it is enough."""
        ways = [self._plainly, self._plainly, self._in_a_transaction, self._and_change_its_mind, self._by_hand]
        while not (self._folder / "enough").exists():
            self._random.choice(ways)(self._new_job())
            if self._known and self._random.random() < 0.1:
                self._operate()
            time.sleep(self._random.uniform(0.01, 0.06))
            self._pause_while_many_wait()

    def _pause_while_many_wait(self) -> None:
        with contextlib.suppress(DatabaseUnavailable):
            while self._queue.counts().pending > self._most_pending and not (self._folder / "enough").exists():
                time.sleep(0.2)

    def _new_job(self) -> NewJob:
        self._number += 1
        chance = self._random
        kind = chance.choice(["steady", "steady", "laned", "laned", "hasty"])
        parameters = {
            "histories": str(self._folder), "seconds": chance.choice([0.0, 0.0, 0.02, 0.1, 0.3]),
            "effects": chance.choice([0, 1, 1, 2]), "fails": 0.1, "snoozes": 0.05, "gives_up": 0.02, "cancels": 0.01,
        }
        if kind == "hasty" and chance.random() < 0.1:
            parameters["seconds"] = 5.0
        soon = datetime.now(UTC) + timedelta(seconds=chance.uniform(0, 2)) if chance.random() < 0.1 else None
        return NewJob(
            kind, chance.randint(1, PROGRAMS), priority=chance.randint(0, 2), scheduled_at=soon,
            unique_key=f"{self._name}-{self._number}", parameters=parameters,
        )

    # Four ways to add a job

    def _plainly(self, new: NewJob) -> None:
        """Enqueue, and repeat under the same key until there is an answer."""
        while not (self._folder / "enough").exists():
            self._note("invoke", new)
            try:
                [job_id] = self._queue.enqueue([new])
            except DatabaseUnavailable:
                self._note("unknown", new)
                time.sleep(self._random.uniform(0.05, 0.3))
                continue
            self._acknowledged(new, job_id)
            return

    def _in_a_transaction(self, new: NewJob) -> None:
        self._note("invoke", new)
        try:
            with as_unavailable(), self._engine.begin() as connection:
                [job_id] = self._queue.enqueue([new], connection)
        except DatabaseUnavailable:
            self._note("unknown", new)
        else:
            self._acknowledged(new, job_id)

    def _and_change_its_mind(self, new: NewJob) -> None:
        self._note("invoke", new)
        with contextlib.suppress(RolledBack, DatabaseUnavailable), as_unavailable(), self._engine.begin() as connection:
            self._queue.enqueue([new], connection)
            raise RolledBack
        self._note("failed", new)

    def _by_hand(self, new: NewJob) -> None:
        """A raw INSERT, as any program may do it."""
        columns = {
            "program_id": new.program_id, "job_type": new.job_type, "priority": new.priority, "unique_key": new.unique_key,
            "job_parameters": json.dumps(new.parameters),
        }
        statement = text(
            f"INSERT INTO indexing_jobs ({', '.join(columns)}) VALUES ({', '.join(':' + name for name in columns)}) RETURNING id"
        )
        self._note("invoke", new)
        try:
            with as_unavailable(), self._engine.begin() as connection:
                job_id = connection.execute(statement, columns).scalar_one()
        except DatabaseUnavailable:
            self._note("unknown", new)
        else:
            self._acknowledged(new, job_id)

    def _note(self, what: str, new: NewJob) -> None:
        self._recorder.note("enqueue", what, key=new.unique_key or "")

    def _acknowledged(self, new: NewJob, job_id: int) -> None:
        self._recorder.note("enqueue", "ok", job_id, key=new.unique_key or "")
        self._known = [*self._known[-50:], job_id]

    # Be an operator

    def _operate(self) -> None:
        job_id = self._random.choice(self._known)
        op = self._random.choice(["cancel", "retry"])
        self._recorder.note(op, "invoke", job_id)
        try:
            answer = self._queue.cancel(job_id) if op == "cancel" else self._queue.retry(job_id)
        except DatabaseUnavailable:
            self._recorder.note(op, "unknown", job_id)
        else:
            self._recorder.note(op, "ok" if str(answer) in ("cancelled", "asked", "retried") else "failed", job_id)


def main() -> int:
    """Be the client that the command line describes."""
    Client(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
