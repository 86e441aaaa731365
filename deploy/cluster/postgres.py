"""One Postgres server of a cluster: made, copied, rewound, started, asked."""

from __future__ import annotations

from pathlib import Path

import psutil
from servers import Server, Trouble, binary, call, make_folder, wait_until

SETTINGS = """
listen_addresses = '127.0.0.1'
max_connections = 200
shared_buffers = 64MB
wal_level = replica
wal_log_hints = on            # so that a former primary can be rewound
wal_keep_size = 512MB         # so that a replica that was away finds what it missed
wal_sender_timeout = 5s
wal_receiver_timeout = 5s
wal_retrieve_retry_interval = 500ms
log_min_messages = warning
"""


class Postgres:
    """A server with its data in `folder/NAME`. What is its own stands in its command, for the rest is copied from the primary."""

    def __init__(self, folder: Path, name: str, port: int) -> None:
        self.name, self.port = name, port
        self.server = Server(folder, name)
        self.data = folder / name
        self._folder = folder

    def make(self) -> None:
        """A new, empty database."""
        make_folder(self.data)
        call("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        own = ("-p", str(self.port), "-c", f"unix_socket_directories={self._folder}")
        self.server.launch("postgres", "-D", str(self.data), *own)
        wait_until(self.is_up, f"the start of {self.name}")

    def pid(self) -> int:
        """The postmaster's, also when another program keeps it; 0 when it does not run."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            return pid if psutil.pid_exists(pid) else 0
        except (OSError, ValueError, IndexError):
            return 0

    def is_up(self) -> bool:
        """Whether it answers. Raises `Trouble` when it has ended."""
        if self.server.process is None:
            raise Trouble(f"{self.name} did not start:\n{self.server.last_words()}")
        return self.ask("SELECT 1") == "1"

    def ask(self, statement: str) -> str:
        """The answer to a statement; empty when there is none within 10 s."""
        try:
            asked = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-c", statement)
            return call("timeout", "10", binary("psql"), "-XAtq", *asked).strip()
        except Trouble:
            return ""

    def checkpoint(self) -> None:
        """Have it write everything down, and wait for that. Raises `Trouble`."""
        call("psql", "-XAtq", "-d", self.address("cluster"), "-c", "CHECKPOINT")

    def set(self, name: str, value: str) -> None:
        """Change a setting in the running server."""
        self.ask(f"ALTER SYSTEM SET {name} = '{value}'")
        self.ask("SELECT pg_reload_conf()")

    def follow(self, primary: Postgres, copy: bool = False) -> None:
        """Become a replica of `primary`: by rewinding what is here, or by a new copy."""
        if copy or not self._rewound(primary):
            call("rm", "-rf", str(self.data))
            call("pg_basebackup", "-D", str(self.data), "-R", "-X", "stream", "-c", "fast", "-d", primary.address(self.name))
        self.start()
        # Somebody who is on another branch of history is let in, too, and thrown out again and again: what counts is that it has
        # what was written by now.
        here = primary.ask("SELECT pg_current_wal_flush_lsn()")
        wait_until(lambda: primary.ask(_HAS.format(self.name, here)) == "t", f"replication from {primary.name} to {self.name}")

    def _rewound(self, primary: Postgres) -> bool:
        if not (self.data / "PG_VERSION").exists():
            return False
        try:
            # Until its first checkpoint a new primary's control file shows the old timeline: pg_rewind sees nothing to do.
            primary.checkpoint()
            call("pg_rewind", "-D", str(self.data), "-R", f"--source-server={primary.address(self.name)}")
        except Trouble as trouble:
            print(f"{self.name} is copied anew: {trouble}")
            return False
        return True

    def address(self, who: str) -> str:
        """Where it is, for the programs of Postgres."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres application_name={who}"


_HAS = "SELECT count(*) = 1 FROM pg_stat_replication WHERE application_name = '{}' AND state = 'streaming' AND replay_lsn >= '{}'"
