"""The three kinds of cluster: a primary with a replica, Patroni with etcd, and one or two servers behind PgBouncer."""

from __future__ import annotations

import signal
from pathlib import Path

from postgres import Postgres
from servers import Server, Trouble, answers, binary, call, make_folder, must_be_free, wait_until, write


class Kind:
    """A cluster in a folder. `facts` are kept in it from one command to the next."""

    sizes = (2,)
    """How many servers of Postgres it may have; the first unless another is asked for."""

    def __init__(self, folder: Path, facts: dict) -> None:
        self.folder, self.facts = folder, facts
        self.port, self.sync = facts["port"], facts["sync"]
        facts.setdefault("primary", "a")
        nodes = facts.get("nodes") or self.sizes[0]
        if nodes not in self.sizes:
            raise Trouble(f"--nodes {nodes}: a cluster of kind {facts['kind']} has {' or '.join(map(str, self.sizes))}")
        names = [chr(ord("a") + number) for number in range(nodes)]
        self.postgres = {name: Postgres(folder, name, self.port + number) for number, name in enumerate(names)}

    def ports(self) -> list[int]:
        """All ports that it uses."""
        return [each.port for each in self.postgres.values()]

    def servers(self) -> list[Server]:
        """What is to be stopped, in this order."""
        return [each.server for each in self.postgres.values()]

    def start(self, copy: bool) -> None:
        """Start whatever does not run."""
        raise NotImplementedError

    def primary(self) -> str:
        """The name of the server that takes writes; empty when none does."""
        asked = "SELECT NOT pg_is_in_recovery() AND NOT current_setting('transaction_read_only')::bool"
        return next((name for name, each in self.postgres.items() if each.ask(asked) == "t"), "")

    def url(self) -> str:
        """The URL for jobqueue.yaml."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.postgres.values())
        return f"postgresql://postgres@{hosts}/postgres" + ("?target_session_attrs=read-write" if len(self.postgres) > 1 else "")

    def settings(self) -> str:
        """What else jobqueue.yaml needs."""
        return ""


class Replica(Kind):
    """`a` and `b`: one is the primary, the other its streaming replica. Nobody but `promote` changes their roles."""

    def start(self, copy: bool) -> None:
        """The primary, then the other as its replica."""
        first = self.postgres[self.facts["primary"]]
        if not first.data.exists():
            must_be_free(*self.ports())
            first.make()
        if first.server.process is None:
            first.start()
        others = [each for each in self.postgres.values() if each is not first]
        for other in others:
            if other.server.process is None:
                other.follow(first, copy)
        if self.sync and others:
            first.set("synchronous_standby_names", "*")
            in_sync = "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
            wait_until(lambda: first.ask(in_sync) == "t", "synchronous replication")

    def promote(self) -> None:
        """Make the replica the primary. The former one is killed first: two that take writes would be two queues."""
        name = self._other()
        self.postgres[self.facts["primary"]].server.end(signal.SIGKILL)
        self._promote(name)

    def promote_beside(self) -> None:
        """Make the replica the primary, whatever the other does: it must be read-only."""
        self._promote(self._other())

    def _other(self) -> str:
        for name in self.postgres:
            if name != self.facts["primary"]:
                return name
        raise Trouble("there is no replica to promote")

    def _promote(self, name: str) -> None:
        chosen = self.postgres[name]
        if chosen.server.process is None:
            chosen.start()
        if chosen.ask("SELECT pg_promote()") != "t":
            raise Trouble(f"{name} was not promoted:\n{chosen.server.last_words()}")
        chosen.set("synchronous_standby_names", "")  # it is alone; `start` brings the other back, and waiting for it with it
        chosen.set("default_transaction_read_only", "off")
        self.facts["primary"] = name


class Patroni(Kind):
    """Two or three servers, each kept by a Patroni, which agree by etcd on which one is the primary."""

    sizes = (2, 3)

    def __init__(self, folder: Path, facts: dict) -> None:
        super().__init__(folder, facts)
        self.etcd = Server(folder, "etcd")
        self.keepers = {name: Server(folder, f"patroni-{name}") for name in self.postgres}

    def ports(self) -> list[int]:
        """Those of Postgres, of Patroni's own API, and of etcd."""
        own = super().ports()
        return [*own, *(port + 10 for port in own), self.port + 20, self.port + 21]

    def servers(self) -> list[Server]:
        """Patronis first: they end their Postgres."""
        return [*self.keepers.values(), self.etcd]

    def start(self, copy: bool) -> None:
        """etcd, then each Patroni that does not run."""
        if not (self.folder / "etcd").exists():
            must_be_free(*self.ports())
        if self.etcd.process is None:
            self._start_etcd()
        for name, keeper in self.keepers.items():
            if keeper.process is None:
                keeper.launch("patroni", str(self._config(name)))
        wait_until(self.whole, "a cluster with all its replicas", within=90)

    def whole(self) -> bool:
        """Whether there is a primary, and all others follow it."""
        leader = self.postgres.get(self.primary())
        wanted = "sync_state IN ('sync', 'quorum')" if self.sync else "true"
        asked = f"SELECT count(*), count(*) FILTER (WHERE {wanted}) FROM pg_stat_replication WHERE state = 'streaming'"
        if leader is None or "|" not in (answer := leader.ask(asked)):
            return False
        streaming, good = map(int, answer.split("|"))
        return streaming >= len(self.postgres) - 1 and good >= 1

    def switch_over(self) -> None:
        """Have Patroni demote the primary in good order and promote another."""
        call("patronictl", "-c", str(self.folder / "patroni-a.yml"), "switchover", "--force", "--master", self.primary(), "jobs")

    def _start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self.port + 20}", f"http://127.0.0.1:{self.port + 21}"
        make_folder(self.folder / "etcd")
        self.etcd.launch(
            "etcd", "--data-dir", str(self.folder / "etcd"), "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
        )
        wait_until(lambda: answers(self.port + 20), "the start of etcd")

    def _config(self, name: str) -> Path:
        path = self.folder / f"patroni-{name}.yml"
        own = self.postgres[name]
        write(path, _PATRONI.format(
            name=name, etcd=self.port + 20, api=own.port + 10, port=own.port, data=own.data, folder=self.folder,
            binaries=Path(binary("postgres")).parent, sync=str(self.sync).lower(),
        ))
        return path


class Pooled(Replica):
    """A PgBouncer in transaction mode before one Postgres, or before the primary of two."""

    sizes = (1, 2)

    def __init__(self, folder: Path, facts: dict) -> None:
        super().__init__(folder, facts)
        self.pooler = Server(folder, "pgbouncer")
        self._own_port = self.port + len(self.postgres)

    def ports(self) -> list[int]:
        """Those of Postgres, and then that of PgBouncer."""
        return [*super().ports(), self._own_port]

    def servers(self) -> list[Server]:
        """PgBouncer first."""
        return [self.pooler, *super().servers()]

    def start(self, copy: bool) -> None:
        """Postgres, then PgBouncer."""
        super().start(copy)
        if self.pooler.process is None:
            self.pooler.launch("pgbouncer", str(self._config()))
            wait_until(lambda: answers(self._own_port), "the start of PgBouncer")

    def _promote(self, name: str) -> None:
        super()._promote(name)
        self._config()
        if self.pooler.process is not None:
            self.pooler.process.send_signal(signal.SIGHUP)  # it reads its file anew, and leaves the former primary

    def _config(self) -> Path:
        path = self.folder / "pgbouncer.ini"
        write(path, _PGBOUNCER.format(port=self._own_port, server=self.postgres[self.facts["primary"]].port))
        return path

    def url(self) -> str:
        """PgBouncer's."""
        return f"postgresql://postgres@127.0.0.1:{self._own_port}/postgres"

    def settings(self) -> str:
        """What PgBouncer asks for."""
        return "database: {pooler: transaction}"


_PATRONI = """
scope: jobs
name: {name}
etcd3: {{host: "127.0.0.1:{etcd}"}}
restapi: {{listen: "127.0.0.1:{api}", connect_address: "127.0.0.1:{api}"}}
bootstrap:
  dcs:
    ttl: 10                  # a leader that is silent so long is replaced; the default is 30
    loop_wait: 2
    retry_timeout: 3
    maximum_lag_on_failover: 1048576
    synchronous_mode: {sync}
    primary_start_timeout: 0 # a primary that crashed is replaced, not started again
    postgresql:
      use_pg_rewind: true
      parameters: {{max_connections: 200, wal_log_hints: "on", wal_keep_size: 512MB}}
  initdb: [{{encoding: UTF8}}, {{locale: C}}]
  pg_hba: [local all all trust, host all all 127.0.0.1/32 trust, host replication all 127.0.0.1/32 trust]
postgresql:
  listen: "127.0.0.1:{port}"
  connect_address: "127.0.0.1:{port}"
  data_dir: {data}
  bin_dir: {binaries}
  pgpass: {folder}/pgpass-{name}
  remove_data_directory_on_rewind_failure: true
  remove_data_directory_on_diverged_timelines: true
  authentication:
    superuser: {{username: postgres, password: trusted}}
    replication: {{username: postgres, password: trusted}}
  parameters: {{unix_socket_directories: {folder}}}
"""

_PGBOUNCER = """
[databases]
* = host=127.0.0.1 port={server} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 500
default_pool_size = 20
server_check_delay = 5
server_login_retry = 1
server_connect_timeout = 5
query_wait_timeout = 15
"""

KINDS = {"replica": Replica, "patroni": Patroni, "pgbouncer": Pooled}
