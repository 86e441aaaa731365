"""The checks of `doctor`. Each is a function of what was found out, and yields findings; none touches the world."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from .wording import span

if TYPE_CHECKING:
    from backends import Stale, Transaction

    from .problems import Problem

SKEW_ALLOWED = 5.0
CONNECTIONS_BESIDE_WORKERS = 4
"""Maintenance keeps three connections: one for its verbs, one for heartbeats, one that listens; a command takes one more."""

TRANSACTION_ALLOWED = 300.0
"""Seconds; as in the alert that `deploy/prometheus` has for it."""

FINDINGS = {
    "CFG": "The configuration file can be used. Its mistakes have ids of their own, `CFG-...`, as in `config check`.",
    "HANDLER-IMPORT": "Every job type's handler can be imported.",
    "HANDLER-UNFIT": "A handler's module leaves threads or sockets behind when it is imported, so workers cannot share it.",
    "DB-UNREACHABLE": "The database cannot be reached.",
    "DB-URL": "The database URL cannot be used.",
    "DB-PERMISSION": "The database's user may not do that.",
    "DB-ERROR": "The database refused a statement.",
    "DB-SCHEMA": "The database has the schema of this release.",
    "CLOCK-SKEW": "This machine and the database agree on the time, within 5 seconds.",
    "SQLITE-LIBRARY": "The SQLite library does not corrupt databases in WAL mode.",
    "SQLITE-SYNCHRONOUS": "SQLite writes every commit through to the disk.",
    "SQLITE-FILESYSTEM": "The SQLite file is on a local file system.",
    "SQLITE-LOG": "No reader keeps SQLite's write-ahead log from being emptied.",
    "PG-FSYNC": "The PostgreSQL server writes through to the disk.",
    "PG-FULL-PAGE-WRITES": "The PostgreSQL server survives pages that were written in part.",
    "PG-SYNCHRONOUS-COMMIT": "A commit on the PostgreSQL server is on the disk when it returns.",
    "PG-CONNECTIONS": "The PostgreSQL server has room for this many workers.",
    "PG-OLD-TRANSACTION": "Nobody keeps the PostgreSQL server from cleaning up after finished jobs.",
    "SECRET-KEYS": "Every key under which secrets lie is at hand.",
    "SUPERVISOR-ALIVE": "A supervisor is running.",
    "SUPERVISOR-SILENT": "A supervisor of the last day neither reports nor signed off.",
    "LEASE-STALE": "Every running job is renewed by its supervisor.",
    "JOB-TYPE-UNSERVED": "Every waiting job is of a type that some supervisor serves.",
}
"""Every id that `doctor` gives, with what is so when it is `ok`; the rare ones name what is wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer of `doctor`. `id` is stable and documented; `fix` says what to do about a `warn` or a `fail`."""

    group: str
    id: str
    level: Literal["ok", "warn", "fail"]
    what: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """The finding for JSON."""
        return asdict(self)


def clock(database: datetime, here: datetime) -> Iterator[Finding]:
    """Whether this machine and the database agree on the time."""
    skew = (here - database).total_seconds()
    if abs(skew) <= SKEW_ALLOWED:
        yield Finding("clock", "CLOCK-SKEW", "ok", f"this machine and the database differ by {abs(skew):.1f} s")
        return
    direction = "ahead of" if skew > 0 else "behind"
    what = f"this machine is {span(abs(skew))} {direction} the database; jobs run by the database's clock"
    yield Finding(
        "clock", "CLOCK-SKEW", "warn", what, "Run a time service (chrony, systemd-timesyncd) on both machines."
    )


def sqlite_library(settings: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the SQLite library and its journal survive a crash of the machine."""
    from backends import safe_for_wal

    version, journal, synchronous = settings["library"], settings["journal_mode"], int(settings["synchronous"])
    if journal == "wal" and not safe_for_wal(tuple(map(int, version.split(".")))):
        what = f"SQLite {version} can corrupt a database in WAL mode (fixed in 3.51.3)"
        yield Finding(
            "database",
            "SQLITE-LIBRARY",
            "fail",
            what,
            "pip install 'pysqlite3>=0.6.1', or set database: {journal: rollback}.",
        )
    else:
        yield Finding("database", "SQLITE-LIBRARY", "ok", f"SQLite {version}, journal {journal}")
    if synchronous < 2:
        what = "commits are not written through to the disk: a power cut can lose jobs"
        yield Finding("database", "SQLITE-SYNCHRONOUS", "warn", what, "Leave PRAGMA synchronous at FULL.")


def file_system(kind: str, path: str) -> Iterator[Finding]:
    """Whether a SQLite file stands where its locks work."""
    from backends import UnsafeFilesystem, refuse_networked

    try:
        refuse_networked(path, kind)
    except UnsafeFilesystem as error:
        what, _, fix = str(error).partition("; ")
        yield Finding("database", "SQLITE-FILESYSTEM", "fail", what, fix)
        return
    if kind:
        yield Finding("database", "SQLITE-FILESYSTEM", "ok", f"{path} is on {kind}")


def sqlite_log(size: int, file: str) -> Iterator[Finding]:
    """Whether the write-ahead log, of `size` bytes, is emptied from time to time."""
    from backends import LARGE_LOG

    megabytes = f"{size / 2**20:.0f} MiB"
    if size <= LARGE_LOG:
        yield Finding("database", "SQLITE-LOG", "ok", f"the write-ahead log has {megabytes}")
        return
    what = f"the write-ahead log has {megabytes}: a program reads an old state of the database, and it grows until that ends"
    find = f"fuser -v {shlex.quote(file)} names who has it open."
    fix = f"{find} End the one that reads; a running supervisor empties the log within seconds."
    yield Finding("database", "SQLITE-LOG", "warn", what, fix)


def postgres_durability(settings: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the server's files survive a crash of it."""
    for name in ("fsync", "full_page_writes"):
        finding = f"PG-{name.upper().replace('_', '-')}"
        if settings[name] == "off":
            what = f"{name} is off: a crash of the server can lose the database"
            fix = f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();"
            yield Finding("database", finding, "fail", what, fix)
        else:
            yield Finding("database", finding, "ok", f"{name} is {settings[name]}")


def postgres_commits(refused: Problem | None, setting: str) -> Iterator[Finding]:
    """Whether a commit is on the server's disk when it returns; `refused` says who told the server otherwise."""
    if refused is None:
        yield Finding("database", "PG-SYNCHRONOUS-COMMIT", "ok", f"synchronous_commit is {setting}")
        return
    yield Finding("database", refused.name, "fail", refused.what, refused.fix)


def postgres_connections(limit: int, in_use: int, workers: int) -> Iterator[Finding]:
    """Whether the server has room for one supervisor with this many workers, beside what is connected now."""
    needed = workers + CONNECTIONS_BESIDE_WORKERS
    what = f"this file needs up to {needed} connections; {in_use} of the server's {limit} are in use"
    if needed > limit:
        yield Finding("database", "PG-CONNECTIONS", "fail", what, "Lower workers.count, or raise max_connections.")
    elif needed > limit - in_use:
        fix = "Fine if some of those are this supervisor's own; otherwise raise max_connections or use a pooler."
        yield Finding("database", "PG-CONNECTIONS", "warn", what, fix)
    else:
        yield Finding("database", "PG-CONNECTIONS", "ok", what)


def postgres_transactions(oldest: Transaction | None) -> Iterator[Finding]:
    """Whether somebody has kept the server from removing old versions of rows for so long that claims become slow."""
    if oldest is None or oldest.age <= TRANSACTION_ALLOWED:
        what = "no transaction has been open for long" if oldest is None else f"the oldest transaction is {span(oldest.age)} old"
        yield Finding("database", "PG-OLD-TRANSACTION", "ok", what)
        return
    who = oldest.application or "a program without a name"
    what = f"a transaction of {oldest.owner} ({who}) has been open for {span(oldest.age)}: claims become slower meanwhile"
    end = f"SELECT pg_terminate_backend({oldest.pid});" if oldest.pid else "COMMIT PREPARED or ROLLBACK PREPARED it."
    fix = f"{end} For the future, have its program commit, or set idle_in_transaction_session_timeout for its role."
    yield Finding("database", "PG-OLD-TRANSACTION", "warn", what, fix)


def handlers(problems: Sequence[tuple[str, str]], unfit: Mapping[str, str], total: int) -> Iterator[Finding]:
    """Whether each job type's handler can be imported, and before the workers are forked.

    `problems` has what failed and what to do; `unfit` has, for each module, what importing it leaves behind.
    """
    for what, fix in problems:
        yield Finding("handlers", "HANDLER-IMPORT", "fail", what, fix)
    if not problems:
        yield Finding("handlers", "HANDLER-IMPORT", "ok", f"all {total} handlers can be imported")
    for module, reason in unfit.items():
        what = f"{module} is imported by each worker on its own: {reason}"
        fix = "Start threads and open connections when a job runs, not when the module is imported."
        yield Finding("handlers", "HANDLER-UNFIT", "warn", what, fix)


def supervisors(ages: Mapping[str, float], lock_timeout: float) -> Iterator[Finding]:
    """Whether a supervisor lives: `ages` has, for each that ever reported and did not sign off, seconds since it last did."""
    silent = {name: age for name, age in ages.items() if age > lock_timeout}
    for name, age in silent.items():
        what = f"supervisor {name} has said nothing for {span(age)}"
        yield Finding("processes", "SUPERVISOR-SILENT", "warn", what, "Look at its host. Its jobs were taken back.")
    if len(silent) == len(ages):
        yield Finding(
            "processes", "SUPERVISOR-ALIVE", "warn", "no supervisor is running", "supervisor start -c jobqueue.yaml"
        )
    else:
        yield Finding("processes", "SUPERVISOR-ALIVE", "ok", f"{len(ages) - len(silent)} running")


def leases(stale: Sequence[Stale]) -> Iterator[Finding]:
    """Whether every running job is renewed by somebody."""
    for one in stale:
        what = f"job {one.job_id} is running under {one.locked_by or 'nobody'}, whose lease is over: nobody renews it"
        yield Finding("jobs", "LEASE-STALE", "fail", what, "Any running supervisor takes it back: supervisor start")
    if not stale:
        yield Finding("jobs", "LEASE-STALE", "ok", "every running job is renewed")


def keys(problem: str | None) -> Iterator[Finding]:
    """Whether the secrets that there are can be decrypted here."""
    if problem is None:
        yield Finding("database", "SECRET-KEYS", "ok", "every secret's key is at hand")
    else:
        what, _, fix = problem.partition("; ")
        yield Finding("database", "SECRET-KEYS", "fail", what, fix[:1].upper() + fix[1:])


def unserved(waiting: Mapping[str, int], declared: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether jobs wait whose type no supervisor serves."""
    for job_type, count in sorted(waiting.items()):
        what = f"{count} job{'s' if count > 1 else ''} of type {job_type!r} wait: no supervisor serves it"
        fix = (
            "Start a supervisor with this file."
            if job_type in declared
            else "Declare it under job_types, or cancel them."
        )
        yield Finding("jobs", "JOB-TYPE-UNSERVED", "warn", what, fix)
    if not waiting:
        yield Finding("jobs", "JOB-TYPE-UNSERVED", "ok", "every waiting job's type is served")
