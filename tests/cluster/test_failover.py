"""One fail-over, as every run of the suite can afford it; the many ways to lose a primary are `python -m tests.cluster`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import psutil
import psycopg
import pytest

from tests.chaos.checker import check
from tests.chaos.world import Database, World
from tests.postgres import PrivatePostgres
from tests.supervisor.scene import signal_all
from tests.support import eventually


class Pair(Database):
    """A primary and its synchronous replica. Whoever wants to write must find out by himself which is which."""

    def __init__(self) -> None:
        self.primary = PrivatePostgres().start()
        self.replica = PrivatePostgres(replica_of=self.primary).start()
        self.ask(self.primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.ask(self.primary, "SELECT pg_reload_conf()")
        in_sync = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'"
        eventually(lambda: self.ask(self.primary, in_sync), within=60)
        self.url = self.own_url = f"postgresql://postgres@127.0.0.1:{self.replica.port},127.0.0.1:{self.primary.port}/postgres"

    def ask(self, server: PrivatePostgres, statement: str) -> Any:
        """The first answer of one of the two, if there is any."""
        with psycopg.connect(server.url(), autocommit=True) as connection:
            found = connection.execute(statement.encode())
            return (found.fetchone() or (None,))[0] if found.description else None

    def fail_over(self) -> None:
        """Send nothing to the replica until commits wait for it, crash the primary, and promote the replica."""
        postmaster = psutil.Process(self.primary.pid())
        senders = [each for each in postmaster.children() if "walsender" in " ".join(each.cmdline())]
        signal_all(senders, signal.SIGSTOP)
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        eventually(lambda: self.ask(self.primary, waiting), within=60)
        postmaster.send_signal(signal.SIGQUIT)
        signal_all(senders, signal.SIGKILL)  # else the postmaster waits 5 s for those that stand still
        self.primary.stop("immediate")
        assert self.ask(self.replica, "SELECT pg_promote()")

    def close(self) -> None:
        """Remove both."""
        self.replica.remove()
        self.primary.remove()


@pytest.fixture
def pair() -> Pair:
    """Two servers, which the world closes."""
    return Pair()


@pytest.fixture
def world(pair: Pair, tmp_path: Path) -> Iterator[World]:
    """A world on them, in which so little waits at a time that the test's end does not depend on the machine's speed."""
    world = World(tmp_path, pair, Random(1), supervisors=1, workers=4, most_pending=5)
    yield world
    world.close()


@pytest.mark.parametrize("backend", ["postgresql"])
def test_no_acknowledged_job_is_lost_with_a_primary_whose_synchronous_replica_takes_over(
    world: World, pair: Pair, backend: str
) -> None:
    def completed() -> int:
        """As the replica sees it, which nobody ends."""
        return int(pair.ask(pair.replica, "SELECT count(*) FROM witness_changes WHERE became = 'completed'"))

    world.add_client("ann")
    world.start()
    eventually(lambda: completed() >= 5, within=60)
    pair.fail_over()
    before = completed()
    eventually(lambda: completed() > before, within=60)
    world.rest()
    world.drain(within=60)
    assert check(world.evidence()) == []
    assert all(scene.process is not None and scene.process.poll() is None for scene in world.scenes)
