"""Jobs that keep coming while a fault is done to a world, what they must see afterwards, and how long the workers took."""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from sqlalchemy import text

from backends import DatabaseUnavailable, JobView, NewJob, Queue, Status, open_engine
from tests.chaos.checker import check
from tests.chaos.history import Recorder, read_histories
from tests.chaos.witness import Change, read_changes
from tests.chaos.world import Server, World
from tests.supervisor.scene import Scene
from tests.support import eventually
from workers import boot_time

RECOVERY = 6.0
"""Seconds from the end of an outage until every worker claims again, as promised (G9)."""

LOCK_TIMEOUT = 3.0
"""Seconds: that of the scenes."""


_numbers = itertools.count(1)


def world_of(folder: Path, settings: str = "", workers: int = 2) -> World:
    """One supervisor on a Postgres server of its own, behind a proxy; not started yet."""
    return World(folder, Server(settings), Random(1), supervisors=1, workers=workers)


def server_of(world: World) -> Server:
    """The world's database, which is a server here."""
    assert isinstance(world.database, Server)
    return world.database


def as_app(world: World) -> None:
    """Have the supervisor connect as somebody who is no superuser: those may take the connections that are kept for them."""
    with psycopg.connect(world.database.own_url, autocommit=True) as owner:
        owner.execute("CREATE ROLE app LOGIN")
        owner.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO app")
        owner.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app")
    world.scenes[0].settings["database_url"] = world.database.url.replace("postgres@", "app@")


def restart_with(world: World, connections: int) -> None:
    """Have the server start again with so many connections; nobody who looks at it keeps one."""
    with psycopg.connect(world.database.own_url, autocommit=True) as owner:
        owner.execute(f"ALTER SYSTEM SET max_connections = {connections}".encode())
    world.database.take_away("fast")
    world.database.give_back()
    world.engine.dispose()


class Client:
    """Adds jobs and writes down what it asked for and what came back. `url` may lead through the proxy."""

    def __init__(self, world: World, url: str = "", name: str = "client") -> None:
        self._folder = world.histories
        self.queue = Queue(open_engine(url or world.database.own_url, connect_timeout=1, statement_timeout=3))
        self._recorder = Recorder(world.histories, name)

    def new(self, job_type: str = "steady", **parameters: Any) -> NewJob:
        """A job that nobody asked for yet, under a key of its own."""
        given = {"histories": str(self._folder), "seconds": 0.0, "effects": 1} | parameters
        return NewJob(job_type, next(_numbers) % 3 + 1, unique_key=f"key-{next(_numbers)}", parameters=given)

    def ask(self, new: NewJob) -> int | None:
        """Enqueue once; None when the answer is not known."""
        self.note("invoke", new)
        try:
            [job_id] = self.queue.enqueue([new])
        except DatabaseUnavailable:
            self.note("unknown", new)
            return None
        self.note("ok", new, job_id)
        return job_id

    def note(self, what: str, new: NewJob, job_id: int = 0) -> None:
        """Write down one line about an enqueue."""
        self._recorder.note("enqueue", what, job_id, key=new.unique_key or "")

    def add(self, job_type: str = "steady", **parameters: Any) -> int:
        """Enqueue, and repeat under the same key until there is an answer."""
        new = self.new(job_type, **parameters)
        return eventually(lambda: self.ask(new), within=60, every=0.1) or 0

    def close(self) -> None:
        """Nothing more will be asked for."""
        self.queue.engine.dispose()
        self._recorder.close()


class Load:
    """`with Load(world):` a job comes every 50 ms, more than one worker can do and less than two; all are over at the end."""

    def __init__(self, world: World, url: str = "", every: float = 0.05, **parameters: Any) -> None:
        self._client = Client(world, url, "load")
        self._every, self._parameters = every, {"seconds": 0.06} | parameters
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def _run(self) -> None:
        while not self._over.wait(self._every):
            new = self._client.new(**self._parameters)
            while self._client.ask(new) is None and not self._over.wait(0.1):
                pass

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(30)
        self._client.close()


def all_claim_again(world: World, since: float, within: float = RECOVERY) -> float:
    """Wait until every worker has claimed after `since` (seconds of the epoch); returns the seconds that the last one took."""
    return max(eventually(lambda: world.claims_of_all(since), within=since + within - time.time()).values()) - since


def completed(world: World, since: float = 0.0) -> int:
    """How many jobs were completed after `since`."""
    counted = text("SELECT count(*) FROM witness_changes WHERE became = 'completed' AND at > :since")
    with world.engine.connect() as connection:
        return int(connection.execute(counted, {"since": since}).scalar_one())


def changes_of(world: World, job_id: int) -> list[Change]:
    """Everything that happened to the job."""
    with world.engine.connect() as connection:
        return [each for each in read_changes(connection) if each.job == job_id]


def last_signs(world: World, job_ids: list[int], lease: int = 1) -> list[float]:
    """The last signs of life of these attempts, in seconds of the epoch."""
    since_boot = time.time() - boot_time()
    signs = {event.job: event.at for event in read_histories(world.histories) if event.op == "run" and event.lease == lease}
    return [signs[job_id] + since_boot for job_id in job_ids if job_id in signs]


def becomes(world: World, job_id: int, status: Status, within: float = 20.0) -> JobView:
    """Wait until the job has that status, and look past whatever is done to the network."""
    job: list[JobView | None] = []

    def has_it() -> bool:
        with contextlib.suppress(DatabaseUnavailable):
            job[:] = [world.queue.get(job_id)]
        return bool(job and job[0] and job[0].status == status)

    try:
        eventually(has_it, within)
    except AssertionError:
        raise AssertionError(f"{job}\n{world.scenes[0].log.read_text()[-6000:]}") from None
    assert job[0] is not None
    return job[0]


GROUNDS = re.compile("lease|sign of life|hung in a database call|fenced transaction|cancelled")
"""Why others may end a worker or maintenance in an outage that lasts; on a busy machine a short one may last."""


def ended_by_themselves(scene: Scene) -> list[str]:
    """Why processes ended that nobody had a reason to end; a fault of the database is none to end by oneself."""
    reasons = [str(each["reason"]) for name in ("worker.lost", "maintenance.lost") for each in scene.events(name)]
    return [reason for reason in reasons if not GROUNDS.search(reason)]


def expect_nothing_broken(world: World) -> None:
    """Everything is given time to end; then no promise may be found broken, no supervisor gone."""
    world.engine.dispose()
    world.drain(within=60)
    violations = check(world.evidence())
    assert not violations, violations
    for scene in world.scenes:
        assert scene.process is not None
        assert scene.process.poll() is None, scene.log.read_text()[-6000:]
        ended = ended_by_themselves(scene)
        assert not ended, ended
