"""A small world to break: a database, two supervisors with their workers, and clients; and how to make it whole again."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import psutil
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from backends import DatabaseUnavailable, open_engine, upgrade
from tests.postgres import PrivatePostgres
from tests.supervisor.scene import Process, Scene, signal_all
from tests.support import REPOSITORY, comes_true, eventually
from tests.warm import warm
from workers import boot_time

from . import witness
from .checker import Evidence, Violation, gather
from .client import MOST_PENDING
from .history import Operator
from .proxy import Proxy

_STEADY = {"handler": "tests.chaos.handlers:steady"}
JOB_TYPES: dict[str, Any] = {
    "steady": _STEADY, "laned": _STEADY | {"lane": "program:{program_id}"}, "hasty": _STEADY | {"timeout": 1},
}


NOT_STARTED = 69
"""Exit code of a supervisor that found no database when it was started; one that runs goes on without."""


class Database:
    """What both kinds of database can have done to them: be taken away for a while, and come back."""

    url: str
    """Where the supervisors and clients find it."""

    own_url: str
    """Where the test finds it, past whatever is done to the network."""

    pooler = "none"
    """What stands before it."""

    def take_away(self, how: str) -> None:
        """Begin an outage."""
        raise NotImplementedError

    def give_back(self) -> None:
        """End it."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave nothing behind."""


class File(Database):
    """A SQLite file; an outage is somebody who holds its only write lock."""

    def __init__(self, folder: Path) -> None:
        self.url = self.own_url = f"sqlite:///{folder}/queue.db"
        self._over = threading.Event()
        self._holder: threading.Thread | None = None

    def take_away(self, how: str) -> None:
        """Hold the write lock, whatever `how` says."""
        self._over.clear()
        held = threading.Event()
        self._holder = threading.Thread(target=self._hold, args=(held,), daemon=True)
        self._holder.start()
        held.wait(30)

    def _hold(self, held: threading.Event) -> None:
        engine = open_engine(self.url)
        while not self._over.is_set():
            with contextlib.suppress(DatabaseUnavailable), engine.begin():
                held.set()
                self._over.wait()
        engine.dispose()

    def give_back(self) -> None:
        """Let go of the write lock."""
        self._over.set()
        if self._holder is not None:
            self._holder.join(30)


class Server(Database):
    """A Postgres server behind a proxy; an outage is a crash or an orderly stop of the server."""

    def __init__(self, settings: str = "") -> None:
        self.postgres = PrivatePostgres(f"fsync = on\nfull_page_writes = on\n{settings}").start()
        self.proxy = Proxy(self.postgres.port)
        self.own_url = self.postgres.url()
        self.url = self.own_url.replace(f":{self.postgres.port}/", f":{self.proxy.port}/")

    def take_away(self, how: str) -> None:
        """Stop the server: `immediate` is a crash."""
        self.postgres.stop(how)

    def give_back(self) -> None:
        """Start it again."""
        self.postgres.start()

    def close(self) -> None:
        """Remove server and proxy."""
        self.proxy.close()
        self.postgres.remove()


class World:
    """Everything that a fault can be done to."""

    def __init__(
        self, folder: Path, database: Database, random: Random, supervisors: int = 2, workers: int = 2,
        most_pending: int = MOST_PENDING,
    ) -> None:
        self.folder, self.database, self._random, self._most_pending = folder, database, random, most_pending
        self.histories = folder / "histories"
        self.histories.mkdir()
        self.engine = open_engine(database.own_url, connect_timeout=2)  # past the proxy
        upgrade(self.engine)
        witness.install(self.engine)
        self.queue = Operator(self.engine, self.histories)
        self.scenes = [self._scene(name, workers) for name in ("one", "two", "three")[:supervisors]]
        self._near_looks = folder / "near-looks"
        for scene in self.scenes[1:2]:
            scene.near_looks = self._near_looks
        self._clients: list[tuple[Path, Process]] = []
        self.drained_in = 0.0
        self.told_to_end: set[int] = set()
        """Pids of those who were killed or asked to end."""
        self._broken: list[Violation] = []

    def _scene(self, name: str, workers: int) -> Scene:
        settings = {"logging": {"level": "INFO", "format": "json"}, "job_types": JOB_TYPES}
        settings["database"] = {"pooler": self.database.pooler}
        return Scene(self.folder, self.database.url, name, workers, **settings)

    def start(self) -> World:
        """Start every supervisor."""
        for scene in self.scenes:
            scene.start()
        return self

    def add_client(self, name: str) -> None:
        """Start a client; one that was killed is followed by a new one of the same name."""
        asked = [self.database.url, str(self.histories), name, str(self._random.random())]
        how = [self.database.pooler, str(self._most_pending)]
        log = self.folder / f"client-{name}.log"
        with log.open("ab") as lines, open(os.devnull) as nothing:
            streams = nothing.fileno(), lines.fileno(), lines.fileno()
            client = warm().start("tests.chaos.client", [*asked, *how], REPOSITORY, os.environ, streams)
        self._clients.append((log, client))

    def mend(self) -> None:
        """Start again every supervisor that is gone, and let everything go on that was stopped."""
        for scene in self.scenes:
            signal_all(scene.tree(), signal.SIGCONT)
            if scene.process is None or scene.process.poll() is not None:
                self._judge_the_end_of(scene.process, f"supervisor {scene.folder.name}", scene.log, NOT_STARTED)
                self.told_to_end.discard(scene.process.pid if scene.process else 0)
                scene.launch()

    def mend_for_good(self) -> None:
        """After the last fault: mend, and start again also those that are about to end, for which nobody else would come."""
        self.mend()
        for scene in self.scenes:
            if not comes_true(lambda scene=scene: not self._is_about_to_end(scene), within=30):  # type: ignore[misc]
                self._broken.append(Violation("G11", f"supervisor {scene.folder.name} drains for half a minute"))
        self.mend()

    def _is_about_to_end(self, scene: Scene) -> bool:
        return scene.process is not None and scene.process.pid in self.told_to_end and scene.process.poll() is None

    def _judge_the_end_of(self, process: Process | None, name: str, log: Path, allowed: int = 0) -> None:
        if process is None or process.pid in self.told_to_end or process.returncode == allowed:
            return
        last = log.read_text().splitlines()[-1:]
        self._broken.append(Violation("G13", f"{name} ended by itself with {process.returncode}: {' '.join(last)}"))

    def completes(self, jobs: int) -> None:
        """Wait until so many jobs are completed."""

        def enough() -> bool:
            with contextlib.suppress(DatabaseUnavailable):
                self.queue.fold_counts()
                return self.queue.counts().completed >= jobs
            return False

        eventually(enough, within=60, every=0.2)

    def claims_of_all(self, since: float) -> dict[str, float]:
        """When each worker first claimed after `since`, in seconds of the epoch; empty until all of them have."""
        wanted = {process_id for scene in self.scenes for process_id in scene.settings["workers"]["process_ids"]}
        claims = text("SELECT tag, min(at) FROM witness_changes WHERE became = 'running' AND at > :since GROUP BY tag")
        with self.engine.connect() as connection:
            found = [(at, tag.rpartition(":")[0]) for tag, at in connection.execute(claims, {"since": since})]
        first = {process_id: at for at, process_id in sorted(found, reverse=True)}
        return first if first.keys() >= wanted else {}

    def everybody_claims(self) -> None:
        """Give every worker time to claim; those that were killed before they had claimed wait for up to half a minute."""
        began = time.time()

        def all_have() -> bool:
            with contextlib.suppress(DBAPIError):
                return bool(self.claims_of_all(began))
            return False

        try:
            eventually(all_have, within=30, every=0.2)
        except AssertionError:
            self._broken.append(Violation("G9", "half a minute after the last fault not every worker had claimed"))

    def rest(self) -> None:
        """No more new jobs."""
        (self.histories / "enough").touch()
        for log, client in self._clients:
            client.wait(30)
            self._judge_the_end_of(client, "a client", log)

    def drain(self, within: float = 120.0) -> None:
        """Wait until every job is over, and keep how long that took; it is the checker who says so when that never happens."""
        began = boot_time()

        def nothing_is_left() -> bool:
            with contextlib.suppress(DatabaseUnavailable):
                self.queue.fold_counts()
                counts = self.queue.counts()
                return counts.pending == 0 and counts.running == 0
            return False

        with contextlib.suppress(AssertionError):
            eventually(nothing_is_left, within, every=0.2)
        self.drained_in = boot_time() - began

    def evidence(self) -> Evidence:
        """What there is to check."""
        return gather(self.engine, self.histories)

    def broken(self) -> list[Violation]:
        """Who ended although nobody told them to, and who did not come back."""
        lost = [each for scene in self.scenes for name in ("worker.lost", "maintenance.lost") for each in scene.events(name)]
        return self._broken + [
            Violation("G13", f"process {each['pid']} ended by itself: {each['reason']}")
            for each in lost if "exit code" in each["reason"]
        ]

    @property
    def claims_in_near_looks(self) -> int:
        """How often workers of the second supervisor, who are near-sighted, claimed something without looking at all there is."""
        return self._near_looks.stat().st_size if self._near_looks.exists() else 0

    def processes(self, scene: Scene, role: str) -> list[int]:
        """The pids of a supervisor's living children of a role: `worker`, `maintenance`, or `supervisor` for itself."""
        if scene.process is None or scene.process.poll() is not None:
            return []
        if role == "supervisor":
            return [scene.process.pid]
        with contextlib.suppress(psutil.Error):
            alive = {child.pid for child in psutil.Process(scene.process.pid).children()}
            status = scene.status
            named = status.get("workers", []) if role == "worker" else [status.get("maintenance", {"pid": None})]
            return [each["pid"] for each in named if each["pid"] in alive]
        return []

    def client_pids(self) -> list[int]:
        """The pids of the clients that live."""
        return [client.pid for _, client in self._clients if client.poll() is None]

    def close(self) -> None:
        """Leave no process behind."""
        for _, client in self._clients:
            client.kill()
            client.wait()
        for scene in self.scenes:
            scene.close()
        self.engine.dispose()
        self.database.close()
