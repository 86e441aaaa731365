"""The servers of a cluster for trying out: each detached, with its pid and its log in the cluster's folder."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil


class Trouble(Exception):
    """Why it cannot go on, for people."""


def user() -> str:
    """Who the servers run as: Postgres refuses root, so root becomes `postgres`."""
    return "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def as_user(*command: str) -> list[str]:
    """The command as it is run for that user."""
    if os.geteuid() != 0:
        return list(command)
    try:
        found = pwd.getpwnam(user())
    except KeyError:
        raise Trouble("root cannot run Postgres, and there is no user postgres: apt-get install postgresql") from None
    return ["setpriv", f"--reuid={found.pw_uid}", f"--regid={found.pw_gid}", "--init-groups", *command]


def binary(name: str) -> str:
    """Where a program is. Raises `Trouble` with the package that brings it."""
    places = [*sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True), os.environ.get("PATH", ""), "/usr/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        package = {"etcd": "etcd-server", "patroni": "patroni", "patronictl": "patroni", "pgbouncer": "pgbouncer"}
        raise Trouble(f"{name} is not installed: apt-get install {package.get(name, 'postgresql')}")
    return found


def make_folder(folder: Path) -> None:
    """Make a folder that the servers' user may write."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        shutil.chown(folder, user(), user())
    folder.chmod(0o700)


def write(path: Path, text: str) -> None:
    """Write a file that the servers' user may read and write."""
    path.write_text(text)
    if os.geteuid() == 0:
        shutil.chown(path, user(), user())


def call(name: str, *arguments: str) -> str:
    """Run a program to its end; returns what it printed. Raises `Trouble` with its words."""
    done = subprocess.run(as_user(binary(name), *arguments), capture_output=True, text=True, cwd="/", check=False)
    if done.returncode:
        raise Trouble(f"{name} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


class Server:
    """One program that goes on running; known by its pid and the moment of its start."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._pid = folder / f"{name}.pid"

    def launch(self, program: str, *arguments: str) -> None:
        """Start it, detached from this terminal."""
        with self.log.open("ab") as log:
            started = subprocess.Popen(
                as_user(binary(program), *arguments), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                start_new_session=True, env=os.environ | {"LC_ALL": "C"},
            )
        self._pid.write_text(f"{started.pid} {psutil.Process(started.pid).create_time()}")

    @property
    def process(self) -> psutil.Process | None:
        """The process, if it lives."""
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            pid, born = self._pid.read_text().split()
            found = psutil.Process(int(pid))
            if found.create_time() == float(born) and found.status() != psutil.STATUS_ZOMBIE:
                return found
        return None

    def tree(self) -> list[psutil.Process]:
        """It and all its descendants, itself first."""
        process = self.process
        with contextlib.suppress(psutil.Error):
            return [process, *process.children(recursive=True)] if process else []
        return []

    def end(self, number: int = signal.SIGTERM, within: float = 15.0) -> None:
        """Ask it to end, and kill all of it when it does not; then forget its pid."""
        tree = self.tree()
        if tree:
            with contextlib.suppress(psutil.Error):
                tree[0].send_signal(number)
            _, left = psutil.wait_procs(tree, 0 if number == signal.SIGKILL else within)
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, 5)
        self._pid.unlink(missing_ok=True)

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""


def wait_until(true: Callable[[], object], what: str, within: float = 60.0) -> None:
    """Return when it is true. Raises `Trouble` when it is not in time."""
    over = time.monotonic() + within
    while not true():
        if time.monotonic() > over:
            raise Trouble(f"{what} did not happen within {within:g} s")
        time.sleep(0.05)


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def must_be_free(*ports: int) -> None:
    """Raises `Trouble` for a port that another program has."""
    if taken := [str(port) for port in ports if answers(port)]:
        raise Trouble(f"port {', '.join(taken)} is in use: give others with --port")
