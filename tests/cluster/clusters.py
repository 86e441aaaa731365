"""Clusters of `deploy/cluster` as databases of a world, and what is done to their servers."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import psutil
import psycopg

from tests.chaos.proxy import Proxy
from tests.chaos.world import Database, Server
from tests.supervisor.scene import signal_all
from tests.support import REPOSITORY

_SPAN = range(22)


class Cluster(Database):
    """A cluster that its own scripts start, promote, mend and stop."""

    def __init__(self, kind: str, sync: bool, random: Random, nodes: int | None = None) -> None:
        self.kind = kind
        self.folder = Path(tempfile.mkdtemp(prefix="jqcluster-", dir="/tmp"))
        self.folder.rmdir()
        more = ["--nodes", str(nodes)] if nodes else []
        self.port = _free_ports(random)
        self.run("start", kind, "--port", str(self.port), "--sync", "on" if sync else "off", *more)
        self.url = self.own_url = str(self.status()["url"])
        if kind == "pgbouncer":
            self.pooler = "transaction"
            hosts = ",".join(f"127.0.0.1:{self.port + number}" for number in range(nodes or 1))
            self.own_url = f"postgresql://postgres@{hosts}/postgres"

    def run(self, *arguments: str) -> str:
        """One command of the scripts."""
        program = REPOSITORY / "deploy" / "cluster" / "cluster.py"
        command = [sys.executable, str(program), "--folder", str(self.folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(self) -> dict[str, Any]:
        """What the scripts say that there is."""
        found: dict[str, Any] = json.loads(self.run("status"))
        return found

    def tree(self, *names: str) -> list[psutil.Process]:
        """All processes of these servers, parents first."""
        pids = self.status()["pids"]
        found = []
        for name in names:
            with contextlib.suppress(psutil.Error):
                own = psutil.Process(pids[name])
                found += [own, *own.children(recursive=True)]
        return found

    def kill(self, *names: str) -> float:
        """End these servers at once, with all their processes; returns when they were, in seconds of the wall clock."""
        tree = self.tree(*names)
        signal_all(tree, signal.SIGKILL)
        killed_at = time.time()
        psutil.wait_procs(tree, 5)
        return killed_at

    @property
    def names(self) -> list[str]:
        """The servers of Postgres that run."""
        return [name for name in ("a", "b", "c") if name in self.status()["pids"]]

    def port_of(self, name: str) -> int:
        """Where a server of Postgres listens."""
        return self.port + ord(name) - ord("a")

    def ask(self, name: str, statement: str) -> Any:
        """The first answer of one server, whatever its role; None while it gives none."""
        url = f"postgresql://postgres@127.0.0.1:{self.port_of(name)}/postgres?connect_timeout=2"
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                row = connection.execute(statement.encode()).fetchone()
                return row[0] if row else None
        except psycopg.Error:
            return None

    def close(self) -> None:
        """End all of it, and leave no process and no file behind."""
        for server in self.tree(*self.status()["pids"]):
            with contextlib.suppress(psutil.Error):
                server.send_signal(signal.SIGCONT)
        self.run("stop")


class Pooled(Server):
    """A server behind PgBouncer, and a proxy before that."""

    pooler = "transaction"

    def __init__(self, random: Random) -> None:
        self.cluster = Cluster("pgbouncer", sync=True, random=random)
        self.proxy = Proxy(self.cluster.port + 1)
        self.own_url = self.cluster.own_url
        self.url = f"postgresql://postgres@127.0.0.1:{self.proxy.port}/postgres"

    def take_away(self, how: str) -> None:
        """Stop the server behind PgBouncer: `immediate` is a crash."""
        [postmaster, *_] = self.cluster.tree("a")
        postmaster.send_signal(signal.SIGQUIT if how == "immediate" else signal.SIGINT)
        psutil.wait_procs([postmaster], 20)

    def give_back(self) -> None:
        """Start again whatever is gone."""
        self.cluster.run("start")

    def kill_pooler(self, lasts: float) -> None:
        """End PgBouncer at once, and start it after a while."""
        self.cluster.kill("pgbouncer")
        time.sleep(lasts)
        self.give_back()

    def restart_pooler(self) -> None:
        """Have PgBouncer end in its own order, and start it."""
        tree = self.cluster.tree("pgbouncer")
        signal_all(tree, signal.SIGTERM)
        psutil.wait_procs(tree, 10)
        self.give_back()

    def close(self) -> None:
        """Remove proxy, PgBouncer and server."""
        self.proxy.close()
        self.cluster.close()


def _free_ports(random: Random) -> int:
    """The first of so many ports that nobody has."""
    while True:
        base = random.randrange(20_000, 32_000, len(_SPAN))
        if all(_is_free(base + each) for each in _SPAN):
            return base


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0

