"""SQLite: one writer at a time, each in its turn, every commit on disk, never two libraries on one file."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError

from .connections import BadDatabaseUrl, InheritedConnection, refuse_inherited, remember
from .job import DatabaseUnavailable
from .standing import Standing, remember_log, standing, why_foreign_log, why_moved
from .turnstile import Turnstile, only_one

try:
    from pysqlite3 import dbapi2 as driver
except ImportError:  # no wheel for this platform: the interpreter's own library
    import sqlite3 as driver

log = logging.getLogger("jobqueue.backends")

NETWORKED = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.ceph",
    "fuse.sshfs", "glusterfs", "fuse.glusterfs", "lustre", "gpfs", "beegfs",
    "davfs", "fuse.davfs2", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone",
})
"""File systems on which SQLite's locks or shared memory do not hold between hosts (sqlite.org/wal.html)."""

BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL, NOTADB = 5, 6, 8, 10, 11, 13, 14, 15, 26
UNAVAILABLE = frozenset({BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL})
"""CORRUPT is among them, for that is what SQLite makes of a disk that fails to read: the file may be whole the next moment."""

CLOSE_AFTER = frozenset({READONLY, IOERR, CORRUPT, FULL, NOTADB})
"""After these a connection is not used again: it may have been opened read-only, or hold a file that is not there any more."""

READONLY_DBMOVED = READONLY | 4 << 8
LARGE_LOG = 64 * 2**20
"""Bytes. A write-ahead log that is larger is worth a wait for writers to be emptied; if it stays larger, a reader holds it."""

_open_at_fork: set[str] = set()


class UnsafeFilesystem(BadDatabaseUrl):
    """SQLite's locks do not hold on the file system where the database lies."""


def safe_for_wal(version: tuple[int, ...]) -> bool:
    """Whether this SQLite is outside the range of the WAL-reset corruption (fixed in 3.51.3, 3.50.7 and 3.44.6)."""
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


class FileMoved(driver.OperationalError):  # type: ignore[misc]
    """The file that was opened stands under its name no more, or the log beside it is another file's."""

    sqlite_errorcode = READONLY_DBMOVED


class TurnConnection(driver.Connection):  # type: ignore[misc]
    """A connection whose writing transactions go through the turnstile, from BEGIN until after COMMIT or ROLLBACK.

    SQLite's own busy handler is off: here each lock is asked for again every 1 to 2 ms until `wait` seconds have passed.
    """

    closed = False
    opened_by: int
    file: str
    opened: Standing | None
    turnstile: Turnstile
    wait: float

    def take_charge(self, file: str, opened: Standing | None, wait: float) -> None:
        """Called once, when it is opened. Raises `OSError` when the turnstile's files cannot be made."""
        self.opened_by = os.getpid()
        self.file, self.opened, self.wait, self.turnstile = file, opened, wait, Turnstile(file)
        remember(self)

    def refuse_moved(self) -> None:
        """Raise `FileMoved` unless the file that was opened still stands under its name; costs about 2 microseconds."""
        if reason := why_moved(self.file, self.opened):
            raise FileMoved(reason)

    def begin_writing(self) -> None:
        """BEGIN IMMEDIATE in our turn; a foreign writer that knows no turnstile is waited for too."""
        refuse_inherited(self.opened_by)
        self.refuse_moved()
        deadline = time.monotonic() + self.wait
        if not self.turnstile.enter(deadline):
            raise driver.OperationalError(f"database is locked: no turn to write within {self.wait:g} s")
        try:
            _patiently(lambda: self.execute("BEGIN IMMEDIATE"), deadline)
        except BaseException:
            self.turnstile.leave()
            raise

    def begin_reading(self) -> None:
        """BEGIN, with the snapshot taken at once: no statement after it can find the database locked."""
        refuse_inherited(self.opened_by)
        self.refuse_moved()
        _patiently(self._take_snapshot, time.monotonic() + self.wait)

    def commit(self) -> None:
        """Commit, then let the next writer through; readers are waited for where the journal needs it.

        What went into a file that was taken away meanwhile is not called committed.
        """
        refuse_inherited(self.opened_by)
        _patiently(super().commit, time.monotonic() + self.wait)
        self.turnstile.leave()
        self.refuse_moved()

    def rollback(self) -> None:
        """Roll back, then let the next writer through; in a forked child do nothing, as for `close`."""
        if self.opened_by != os.getpid():
            return
        try:
            super().rollback()
        finally:
            self.turnstile.leave()

    def close(self) -> None:
        """Close it; in a forked child do nothing, for the library would act on locks that are the parent's."""
        if self.opened_by != os.getpid():
            return
        try:
            super().close()
        finally:
            self.closed = True
            self.turnstile.close()

    def leave_to_the_parent(self) -> None:
        """Let go of the turnstile's files without unlocking them, and never open this database file in this process."""
        self.turnstile.abandon()
        _open_at_fork.add(self.file)

    def _take_snapshot(self) -> None:
        self.execute("BEGIN")
        try:
            self.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        except BaseException:
            super().rollback()
            raise


def _patiently(attempt: Callable[[], object], deadline: float) -> None:
    while True:
        try:
            attempt()
            return
        except driver.OperationalError as error:
            if _code(error) not in (BUSY, LOCKED) or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.001, 0.002))


def make_engine(path: str, *, journal: str, autocheckpoint: int, wait: float, pool_size: int, make: bool) -> Engine:
    """An engine for the path of a `sqlite://` URL: `/relative` or `//absolute`. Raises `BadDatabaseUrl`.

    It makes the file at its first connection if it may; one that is missing later was taken away, and is never made anew.
    """
    file = _file(path)
    wal = None if journal == "unchanged" else journal == "wal" and _warned_if_unsafe()
    opened_by = os.getpid()
    may_make = make

    def connect() -> TurnConnection:
        nonlocal may_make
        refuse_inherited(opened_by)
        connection = _connect(file, wal, autocheckpoint, wait, may_make)
        may_make = False
        return connection

    engine = create_engine(
        URL.create("sqlite", database=file),
        module=driver,
        creator=connect,
        hide_parameters=True,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=8,
        pool_timeout=wait,
    )
    event.listen(engine, "begin", _begin)
    event.listen(engine, "before_cursor_execute", _refuse_inherited)
    event.listen(engine, "handle_error", _close_after_damage)
    return engine


def _file(path: str) -> str:
    """The one name of the file: two names for it would mean two turnstiles."""
    if "?" in path:
        raise BadDatabaseUrl("a SQLite URL takes no options after `?` here; set them under `database:`")
    if not path.startswith("/") or path == "/" or ":memory:" in path:
        raise BadDatabaseUrl("SQLite needs a file that processes can share: sqlite:///relative.db or sqlite:////absolute.db")
    return os.path.realpath(path[1:])


def _warned_if_unsafe() -> bool:
    safe = safe_for_wal(driver.sqlite_version_info)
    if not safe:
        log.warning(
            "SQLite %s can corrupt a database in WAL mode; using the rollback journal, which is slower."
            " Install pysqlite3>=0.6.1, or a Python with SQLite 3.51.3 or later.",
            driver.sqlite_version,
        )
    return safe


def _connect(file: str, wal: bool | None, autocheckpoint: int, wait: float, make: bool) -> TurnConnection:
    if file in _open_at_fork:
        raise InheritedConnection(
            f"{file} was open when this process was forked, and SQLite would trust the parent's locks here;"
            " close the parent's connections (`engine.dispose()`) before the fork"
        )
    refuse_networked(file, filesystem_of(file))
    if reason := why_foreign_log(file):
        raise FileMoved(reason)
    _make(file, make)
    opened = standing(file)
    connection: TurnConnection = driver.connect(
        file, isolation_level=None, timeout=wait, check_same_thread=False, factory=TurnConnection
    )
    try:
        connection.text_factory = _readable
        connection.take_charge(file, opened, wait)
        connection.refuse_moved()
        _configure(connection, wal, autocheckpoint)
        remember_log(file, opened, connection.turnstile.descriptor)
        if standing(f"{file}-wal") is not None:
            _keep_names(os.path.dirname(os.path.abspath(file)))
    except OSError as error:
        driver.Connection.close(connection)
        raise DatabaseUnavailable(f"cannot write {error.filename}, which SQLite needs: {error.strerror}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _keep_names(folder: str) -> None:
    """Have the folder keep the names of its files. SQLite asks for that too, but goes on when it fails: a loss of power would
    then take the log away, with all that was committed into it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # files may be made in a folder that may not be read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that knows no sync of folders
            raise OSError(error.errno, error.strerror, folder) from error
    finally:
        os.close(descriptor)


def _readable(text: bytes) -> str:
    """Any program may write bytes that are no UTF-8 into a text: they are shown as U+FFFD, and fail nobody."""
    return text.decode("utf-8", "replace")


def _make(file: str, make: bool) -> None:
    """Create the file, for its owner only. Exclusively: opening a database that this process uses would drop its locks."""
    if standing(file) is not None:
        return
    if not make:
        raise DatabaseUnavailable(f"{file} is gone: it was deleted or moved away; put it back, or start anew to have it made")
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        needed = f"{os.path.dirname(file)} must be a folder that user {os.geteuid()} can write"
        raise DatabaseUnavailable(f"cannot create {file}: {error.strerror}; {needed}") from error


def _configure(connection: TurnConnection, wal: bool | None, autocheckpoint: int) -> None:
    wanted = {"journal_mode": "wal" if wal else "delete", "synchronous": 2 if wal else 3, "foreign_keys": 1}
    if wal is None:
        del wanted["journal_mode"]
    for name, value in wanted.items():
        connection.execute(f"PRAGMA {name} = {value}").fetchall()
        (found,) = connection.execute(f"PRAGMA {name}").fetchone()
        if found != value:
            raise UnsafeFilesystem(
                f"SQLite could not set {name} to {value} for {connection.file} (it is {found});"
                " use a local disk, `database: {journal: rollback}`, or Postgres"
            )
    connection.execute(f"PRAGMA wal_autocheckpoint = {autocheckpoint}").fetchall()
    connection.execute(f"PRAGMA journal_size_limit = {LARGE_LOG}").fetchall()
    connection.execute("PRAGMA schema_version").fetchall()  # a read, with which the log is there to be remembered
    connection.execute("PRAGMA busy_timeout = 0").fetchall()


def _begin(connection: Connection) -> None:
    own = own_connection(connection)
    begin = own.begin_reading if connection.get_execution_options().get("jobqueue_read") else own.begin_writing
    try:
        begin()
    except driver.Error as error:
        if _code(error) in CLOSE_AFTER:
            connection.invalidate(error)
        raise OperationalError("BEGIN", None, error, hide_parameters=True) from error


def _refuse_inherited(connection: Connection, *statement: Any) -> None:
    refuse_inherited(own_connection(connection).opened_by)


def own_connection(connection: Connection) -> TurnConnection:
    """The driver's own connection under this one."""
    own = connection.connection.driver_connection
    assert isinstance(own, TurnConnection)
    return own


def _close_after_damage(context: ExceptionContext) -> None:
    if _code(context.original_exception) in CLOSE_AFTER:
        context.is_disconnect = True


def refuse_networked(file: str, kind: str) -> None:
    """Raise `UnsafeFilesystem` when `kind`, the type of the file system that holds `file`, belongs to another host."""
    if kind in NETWORKED:
        raise UnsafeFilesystem(f"{file} lies on {kind}, where SQLite's locks do not hold; use a local disk, or Postgres")


def filesystem_of(file: str, mounts: str | None = None) -> str:
    """The type of the file system that holds this absolute path; empty where nobody can tell (no /proc)."""
    try:
        text = Path("/proc/self/mounts").read_text() if mounts is None else mounts
    except OSError:
        return ""
    found = [line.split()[1:3] for line in text.splitlines() if len(line.split()) > 2]
    places = [(where.replace("\\040", " ").rstrip("/") + "/", kind) for where, kind in found]
    holding = [(len(where), index, kind) for index, (where, kind) in enumerate(places) if file.startswith(where)]
    return max(holding, default=(0, 0, ""))[2]


def _code(error: BaseException | None) -> int:
    """SQLite's primary result code; 0 when the driver told none."""
    if str(error).startswith("database is locked"):
        return BUSY
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def is_unavailable(error: BaseException | None) -> bool:
    """Whether a driver's error means: locked, full, read-only, unreadable, damaged, or the disk failed."""
    return isinstance(error, driver.Error) and _code(error) in UNAVAILABLE


def data_version(connection: Connection) -> int:
    """A number that changes when another connection has committed; outside any transaction. Raises `DatabaseUnavailable`."""
    try:
        own = own_connection(connection)
        own.refuse_moved()
        return int(own.execute("PRAGMA data_version").fetchone()[0])
    except driver.Error as error:
        raise DatabaseUnavailable(str(error)) from error


def checkpoint(engine: Engine, *, large: int = LARGE_LOG) -> bool:
    """Move what it can of the write-ahead log into the database, and empty a log of more than `large` bytes.

    Only one process does this at a time: False when another one is at it, or where there is no such log (Postgres). It waits
    for no reader, and for writers only when the log is large. Raises `DatabaseUnavailable`.
    """
    if engine.dialect.name != "sqlite":
        return False
    try:
        return _checkpoint(engine, str(engine.url.database), large)
    except (driver.Error, DBAPIError, OSError) as error:
        raise DatabaseUnavailable(f"cannot empty the write-ahead log: {getattr(error, 'orig', error)}") from error


def _checkpoint(engine: Engine, file: str, large: int) -> bool:
    with engine.connect() as connection, only_one(f"{file}.checkpointer", file) as ours:
        if ours:
            own = own_connection(connection)
            own.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            if _size(f"{file}-wal") > large and own.turnstile.enter(time.monotonic() + 1.0):
                try:
                    own.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                finally:
                    own.turnstile.leave()
        return ours


def log_size(engine: Engine) -> int | None:
    """Bytes of the write-ahead log, which grows for as long as somebody reads an old state; None on Postgres."""
    return _size(f"{engine.url.database}-wal") if engine.dialect.name == "sqlite" else None


def _size(file: str) -> int:
    try:
        return os.stat(file).st_size
    except OSError:  # not there, or not to be seen: whoever opens the database says what is wrong
        return 0


def boot_clock() -> tuple[str, float]:
    """This boot's identity, and seconds since it, sleep included: a clock that no step of the wall clock moves."""
    return _BOOT, time.clock_gettime(_CLOCK)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # macOS
        text, size = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
        ctypes.CDLL(None).sysctlbyname(b"kern.bootsessionuuid", text, ctypes.byref(size), None, 0)
        return text.value.decode()


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BOOT = _boot_id()
