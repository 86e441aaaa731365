"""Fail-overs: the ways to lose a primary, and what is measured of each."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
from sqlalchemy import text

from backends import open_engine
from tests.chaos.forgetting import Window
from tests.chaos.world import World
from tests.supervisor.scene import signal_all
from tests.support import eventually
from workers import boot_time

from .clusters import Cluster

LONG = 6.0
"""Seconds: twice the supervisors' `lock_timeout`, and longer than any statement may take."""

MARK_EVERY = 0.02
"""Seconds between two marks."""


NOTED_WITHIN = 0.5
"""Seconds that a client may need to write down an answer that it has, while all processes of the machine compete for it."""


@dataclass(frozen=True, slots=True)
class Failover:
    """One loss of a primary: how, from when to when, and how long it took until a job was claimed on the new one.

    `recovery` counts from the loss, `afterwards` from the moment in which the new primary was seen to take writes.
    """

    how: str
    window: Window
    recovery: float
    afterwards: float


class Marks:
    """Rows that say when they were asked for: all that was acknowledged before a mark that survived has survived, too."""

    def __init__(self, url: str, pooler: str) -> None:
        self._engine = open_engine(url, connect_timeout=2, statement_timeout=2, pooler=pooler)
        with self._engine.begin() as connection:
            connection.execute(text("CREATE TABLE witness_marks (at DOUBLE PRECISION NOT NULL)"))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        while not self._over.wait(MARK_EVERY):
            try:
                with self._engine.begin() as connection:  # first, so that none is taken on one server and written on another
                    connection.execute(text("INSERT INTO witness_marks (at) VALUES (:at)"), {"at": boot_time()})
            except Exception:  # whatever an outage is called: there will be another mark
                continue

    def close(self) -> None:
        """No more marks."""
        self._over.set()
        self._thread.join(10)
        self._engine.dispose()


def fail_over(world: World, cluster: Cluster, how: str) -> Failover:
    """Lose the primary in this way, wait until the new one serves, and make the cluster whole again."""
    former = cluster.status()["primary"]
    others = [name for name in cluster.names if name != former]
    hit = time.time()
    gone = WAYS[cluster.kind][how](cluster, former, others)
    promoted = eventually(lambda: next((name for name in others if cluster.ask(name, _IS_PRIMARY)), None), within=60)
    serving, until = time.time(), boot_time()
    since = eventually(lambda: cluster.ask(promoted, f"SELECT max(at) FROM witness_marks WHERE at < {_by_boot_time(gone)}"))
    claimed = f"SELECT min(at) FROM witness_changes WHERE became = 'running' AND was = 'pending' AND at > {gone}"
    first = eventually(lambda: cluster.ask(promoted, claimed), within=60)
    cluster.run("start", *(["--copy"] if int(until) % 2 else []))
    window = Window(since, min(until, _by_boot_time(gone) + NOTED_WITHIN), until)
    return Failover(how, window, first - hit, max(0.0, first - serving))


def _by_boot_time(wall_clock: float) -> float:
    return boot_time() - (time.time() - wall_clock)


_IS_PRIMARY = "SELECT true WHERE NOT pg_is_in_recovery()"

Way = Callable[[Cluster, str, list[str]], float]
"""Loses the primary; returns when that was, in seconds of the wall clock: it acknowledged nothing later."""


def _killed(cluster: Cluster, former: str, others: list[str]) -> float:
    """The primary, with all its processes."""
    gone = cluster.kill(former)
    cluster.run("promote")
    return gone


def _frozen(cluster: Cluster, former: str, others: list[str]) -> float:
    """The primary stands still, its kernel goes on; the promotion kills it."""
    signal_all(cluster.tree(former), signal.SIGSTOP)
    gone = time.time()
    time.sleep(LONG)
    cluster.run("promote")
    return gone


def _read_only(cluster: Cluster, former: str, others: list[str]) -> float:
    """The primary goes on and answers, but takes no more writes; nobody is disconnected."""
    cluster.ask(former, "ALTER SYSTEM SET default_transaction_read_only = on")
    cluster.ask(former, "SELECT pg_reload_conf()")
    time.sleep(1)
    here = cluster.ask(former, "SELECT pg_current_wal_lsn()")
    eventually(lambda: cluster.ask(others[0], f"SELECT pg_last_wal_replay_lsn() >= '{here}'"), within=30)
    gone = time.time()
    cluster.run("promote", "--beside")
    time.sleep(LONG / 2)
    cluster.kill(former)
    return gone


def _alone(cluster: Cluster, former: str, others: list[str]) -> float:
    """The replica is lost; then the primary, which had gone on for a while; the replica comes back and is promoted."""
    cluster.kill(*others)
    time.sleep(LONG)
    gone = cluster.kill(former)
    cluster.run("promote")
    return gone


def _node_killed(cluster: Cluster, former: str, others: list[str]) -> float:
    """The primary and its Patroni."""
    return cluster.kill(f"patroni-{former}", former)


def _server_killed(cluster: Cluster, former: str, others: list[str]) -> float:
    """The primary; its Patroni finds out."""
    return cluster.kill(former)


def _node_frozen(cluster: Cluster, former: str, others: list[str]) -> float:
    """The primary and its Patroni stand still until another has its place; then they are reset, as a watchdog does.

    They must not go on: a Patroni that stood still has been seen to take its lock back from the new leader.
    """
    tree = cluster.tree(f"patroni-{former}", former)
    signal_all(tree, signal.SIGSTOP)
    gone = time.time()
    eventually(lambda: any(cluster.ask(name, _IS_PRIMARY) for name in others), within=60)
    signal_all(tree, signal.SIGKILL)
    psutil.wait_procs(tree, 5)
    return gone


def _switched(cluster: Cluster, former: str, others: list[str]) -> float:
    """Patroni demotes the primary and promotes another."""
    cluster.run("promote")
    promoted = eventually(lambda: next((name for name in others if cluster.ask(name, _IS_PRIMARY)), None), within=60)
    gone = cluster.ask(promoted, _PROMOTED_AT)
    return float(gone)


_PROMOTED_AT = (
    "SELECT extract(epoch FROM max((pg_stat_file('pg_wal/' || name)).modification))::float"
    " FROM pg_ls_dir('pg_wal') AS name WHERE name LIKE '%.history'"
)


_BY_HAND: dict[str, Way] = {"killed": _killed, "frozen": _frozen, "read-only": _read_only, "replica lost first": _alone}

WAYS: dict[str, dict[str, Way]] = {
    "replica": _BY_HAND,
    "pgbouncer": _BY_HAND,
    "patroni": {"node killed": _node_killed, "server killed": _server_killed, "frozen": _node_frozen, "switched": _switched},
}
