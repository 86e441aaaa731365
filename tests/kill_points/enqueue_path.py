"""The path of whoever adds jobs: one, many, with keys, with secrets, in a transaction of their own, by hand, again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import text

from backends import NewJob, Queue, open_engine
from tests.chaos.history import Recorder

from .databases import Place, victims_url
from .handlers import TOKEN
from .scenery import prepare


def prepare_for_enqueue(place: Place) -> None:
    """A queue that knows its job types, and one job whose key is taken."""
    engine = prepare(place)
    caller = Caller(Queue(engine), Recorder(place.histories, "seed"))
    caller.enqueue("taken", [caller.keyed("taken")])
    engine.dispose()


def enqueue(place: Place) -> None:
    """Add jobs in each way there is. Each call is a group: all of its jobs are there, or none."""
    engine = open_engine(victims_url(place), key_file=place.keys, statement_timeout=600.0)
    caller = Caller(Queue(engine), Recorder(place.histories, "client"))
    caller.enqueue("single", [caller.plain()])
    caller.enqueue("laned", [caller.plain(job_type="laned")])
    soon = datetime.now(UTC) + timedelta(seconds=0.1)
    caller.enqueue("delayed", [caller.plain(scheduled_at=soon)])
    caller.enqueue("bulk", [caller.plain() for _ in range(4)])
    caller.enqueue("keyed", [caller.keyed("k1")])
    caller.enqueue("keyed again", [caller.keyed("k1")])
    caller.enqueue("bulk with keys", [caller.keyed(key) for key in ("k3", "taken", "k2", "k4")])
    caller.enqueue("secret", [caller.plain(parameters={"access_token": TOKEN, "does": ["secret"]})])
    caller.enqueue("secret with key", [caller.keyed("k5", parameters={"access_token": TOKEN, "does": ["secret"]})])
    caller.in_a_transaction("transaction", [[caller.plain()], [caller.keyed("k6"), caller.plain()], [caller.keyed("k7")]])
    caller.by_hand("by hand", 2)
    engine.dispose()


class Caller:
    """Adds jobs, and writes down which it asked for and which were acknowledged."""

    def __init__(self, queue: Queue, recorder: Recorder) -> None:
        self._queue, self._recorder, self._numbers = queue, recorder, count(1)

    def plain(self, job_type: str = "plain", **values: Any) -> NewJob:
        """A job without a unique key; its folder tells it from others."""
        return NewJob(job_type, 1, folder_id=f"folder-{next(self._numbers)}", **values)

    def keyed(self, key: str, job_type: str = "plain", **values: Any) -> NewJob:
        """A job with a unique key."""
        return NewJob(job_type, 1, unique_key=key, **values)

    def enqueue(self, group: str, jobs: Sequence[NewJob]) -> list[int]:
        """In a call of its own."""
        self._note("invoke", group, jobs)
        ids = self._queue.enqueue(jobs)
        self._note("ok", group, jobs, ids)
        return ids

    def in_a_transaction(self, group: str, calls: Sequence[Sequence[NewJob]]) -> None:
        """Several calls in a transaction of ours."""
        jobs = [new for call in calls for new in call]
        self._note("invoke", group, jobs)
        with self._queue.engine.begin() as connection:
            ids = [each for call in calls for each in self._queue.enqueue(call, connection)]
        self._note("ok", group, jobs, ids)

    def by_hand(self, group: str, number: int, parameters: str | None = None, job_type: str = "plain") -> list[int]:
        """Raw INSERTs, as any program may send them."""
        jobs = [self.plain(job_type) for _ in range(number)]
        self._note("invoke", group, jobs)
        statement = text(
            "INSERT INTO indexing_jobs (program_id, job_type, folder_id, job_parameters)"
            " VALUES (1, :job_type, :folder, :parameters) RETURNING id"
        )
        with self._queue.engine.begin() as connection:
            rows = [{"job_type": job_type, "folder": new.folder_id, "parameters": parameters} for new in jobs]
            ids = [int(connection.execute(statement, row).scalar_one()) for row in rows]
        self._note("ok", group, jobs, ids)
        return ids

    def _note(self, what: str, group: str, jobs: Sequence[NewJob], ids: Sequence[int] | None = None) -> None:
        for new, job_id in zip(jobs, ids or [0] * len(jobs), strict=True):
            self._recorder.note("enqueue", what, job_id, key=new.unique_key or new.folder_id or "", group=group)
