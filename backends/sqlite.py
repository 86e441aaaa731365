"""SQLite: one writer at a time, each in its turn, every commit on disk, never two libraries on one file."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

try:
    from pysqlite3 import dbapi2 as driver
except ImportError:  # no wheel for this platform: the interpreter's own library
    import sqlite3 as driver


class UnsafeFilesystem(Exception):
    """SQLite's locks do not hold on the file system where the database lies."""


NETWORKED = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs", "glusterfs", "ceph", "lustre"})


def safe_for_wal(version: tuple[int, ...]) -> bool:
    """Whether this SQLite is outside the range of the WAL-reset corruption (fixed in 3.51.3, 3.50.7 and 3.44.6)."""
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


class Turnstile:
    """Lets writing transactions of all processes through one at a time, in about the order they came.

    Two locks on a neighbour file: whoever holds the first waits for the second, so that the one who leaves cannot push in
    again. Measured with four writers: longest wait tens of milliseconds, where SQLite's own busy handler starves some.
    """

    def __init__(self, path: str, wait: float) -> None:
        self._files = [os.open(f"{path}.{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for name in ("queue", "turn")]
        self._wait = wait

    def enter(self) -> None:
        """Wait for our turn. Raises `OperationalError` after the deadline."""
        queue, turn = self._files
        deadline = time.monotonic() + self._wait
        self._take(queue, 0.0005, deadline)
        try:
            self._take(turn, 0.0001, deadline)
        finally:
            fcntl.flock(queue, fcntl.LOCK_UN)

    def leave(self) -> None:
        """Let the next one through."""
        fcntl.flock(self._files[1], fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the files back."""
        for file in self._files:
            os.close(file)
        self._files = []

    def _take(self, file: int, pause: float, deadline: float) -> None:
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EINTR):
                    raise
            if time.monotonic() > deadline:
                raise driver.OperationalError(f"database is locked: no turn within {self._wait:g} s")
            time.sleep(pause * random.uniform(0.5, 1.5))


class TurnConnection(driver.Connection):  # type: ignore[misc]
    """A connection whose writing transactions go through the turnstile."""

    turnstile: Turnstile | None = None
    has_turn = False

    def begin_writing(self) -> None:
        """BEGIN IMMEDIATE in our turn; a foreign writer that knows no turnstile is waited for too."""
        assert self.turnstile is not None
        self.turnstile.enter()
        self.has_turn = True
        deadline = time.monotonic() + self.turnstile._wait
        while True:
            try:
                self.execute("BEGIN IMMEDIATE")
                return
            except driver.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    self._leave()
                    raise
            time.sleep(random.uniform(0.001, 0.002))

    def commit(self) -> None:
        try:
            super().commit()
        finally:
            if not self.in_transaction:
                self._leave()

    def rollback(self) -> None:
        try:
            super().rollback()
        finally:
            self._leave()

    def close(self) -> None:
        super().close()
        self._leave()
        if self.turnstile is not None:
            self.turnstile.close()
            self.turnstile = None

    def _leave(self) -> None:
        if self.has_turn and self.turnstile is not None:
            self.has_turn = False
            self.turnstile.leave()


def make_engine(path: str, *, journal: str, autocheckpoint: int, wait: float, pool_size: int) -> Engine:
    """An engine for the file at `/path` (one slash is the URL's own)."""
    file = os.path.abspath(path.removeprefix("/") if not path.startswith("//") else path[1:])
    wal = journal == "wal" and safe_for_wal(driver.sqlite_version_info)

    def connect() -> Any:
        _refuse_networks(file)
        if not os.path.exists(file):
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = driver.connect(file, isolation_level=None, timeout=0, check_same_thread=False, factory=TurnConnection)
        connection.turnstile = Turnstile(file, wait)
        _configure(connection, wal, autocheckpoint)
        return connection

    engine = create_engine(
        "sqlite://", module=driver, creator=connect, hide_parameters=True, pool_size=pool_size, max_overflow=8,
        poolclass=QueuePool,
    )
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, wal: bool, autocheckpoint: int) -> None:
    connection.execute("PRAGMA busy_timeout = 2000")
    connection.execute(f"PRAGMA journal_mode = {'wal' if wal else 'delete'}")
    connection.execute(f"PRAGMA synchronous = {'FULL' if wal else 'EXTRA'}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {autocheckpoint}")
    connection.execute("PRAGMA busy_timeout = 0")


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("jobqueue_read"):
        connection.exec_driver_sql("BEGIN")
    else:
        try:
            connection.connection.dbapi_connection.begin_writing()  # type: ignore[union-attr]
        except driver.OperationalError as error:
            raise OperationalError("BEGIN IMMEDIATE", None, error) from error


def _refuse_networks(file: str) -> None:
    kind = filesystem_of(file)
    if kind in NETWORKED:
        raise UnsafeFilesystem(f"{file} lies on {kind}, where SQLite's locks do not hold; use a local disk, or Postgres")


def filesystem_of(file: str) -> str:
    """The type of the file system that holds this path; empty where nobody can tell."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    holding = [(where, kind) for where, kind in mounts if file.startswith(where.rstrip("/") + "/")]
    return max(holding, default=("", ""), key=lambda mount: len(mount[0]))[1]


def is_unavailable(error: BaseException | None) -> bool:
    """Whether a driver's error means: locked, full, read-only, unreadable, or the disk failed."""
    words = ("locked", "busy", "full", "readonly", "disk I/O", "unable to open")
    return isinstance(error, driver.OperationalError) and any(word in str(error) for word in words)


def data_version(connection: Connection) -> int:
    """A number that changes when another connection has committed."""
    return int(connection.connection.dbapi_connection.execute("PRAGMA data_version").fetchone()[0])  # type: ignore[union-attr]


def checkpoint(engine: Engine) -> None:
    """Move what it can of the write-ahead log into the database; never waits."""
    with engine.connect().execution_options(jobqueue_read=True) as connection:
        connection.connection.dbapi_connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # type: ignore[union-attr]


def boot_clock() -> tuple[str, float]:
    """This boot's identity, and seconds since it: a clock that no step of the wall clock moves."""
    return _BOOT, time.clock_gettime(_CLOCK)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"since {int(time.time() - time.monotonic())}"


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BOOT = _boot_id()
