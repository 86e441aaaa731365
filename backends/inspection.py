"""What `supervisor doctor` reads from the database beyond the queue's own verbs. Reading only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.engine import Connection

from .dialects import one_writer
from .fleet import expiry_parameters
from .statements import expired
from .tables import indexing_jobs, now

job = indexing_jobs.c
POSTGRES_SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "max_connections", "server_version")
SQLITE_SETTINGS = ("journal_mode", "synchronous")


class Stale(NamedTuple):
    """A running job that nobody renews: its id, and who holds it."""

    job_id: int
    locked_by: str | None


def database_clock(connection: Connection) -> datetime:
    """The database's own time."""
    answer = connection.execute(select(now())).scalar_one()
    return answer if isinstance(answer, datetime) else datetime.fromisoformat(str(answer))


def server_settings(connection: Connection) -> dict[str, str]:
    """The settings of the server, or of this connection on SQLite, that decide whether commits survive a crash."""
    if connection.dialect.name == "sqlite":
        library = {"library": str(connection.execute(text("SELECT sqlite_version()")).scalar_one())}
        return library | {name: str(connection.execute(text(f"PRAGMA {name}")).scalar()) for name in SQLITE_SETTINGS}
    return {name: str(connection.execute(text(f"SHOW {name}")).scalar_one()) for name in POSTGRES_SETTINGS}


def sqlite_file(connection: Connection) -> Path:
    """The file of a SQLite database."""
    rows = connection.execute(text("PRAGMA database_list")).all()
    return Path(next(row.file for row in rows if row.name == "main"))


def connections_in_use(connection: Connection) -> int:
    """How many client connections the Postgres server has now, those of other programs included."""
    statement = text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    return int(connection.execute(statement).scalar_one())


class Transaction(NamedTuple):
    """An open transaction, and for how many seconds it has been. `pid` is None for one that was prepared."""

    pid: int | None
    owner: str
    application: str
    age: float


_OLDEST_TRANSACTION = text("""
SELECT pid, usename, application_name, extract(epoch FROM clock_timestamp() - xact_start)::float AS age FROM pg_stat_activity
WHERE datname = current_database() AND backend_type <> 'autovacuum worker' AND pid <> pg_backend_pid()
  AND coalesce(backend_xmin, backend_xid) IS NOT NULL AND xact_start IS NOT NULL
UNION ALL
SELECT NULL, owner, 'prepared transaction ' || gid, extract(epoch FROM clock_timestamp() - prepared)::float
FROM pg_prepared_xacts WHERE database = current_database()
ORDER BY age DESC LIMIT 1
""")


def oldest_transaction(connection: Connection) -> Transaction | None:
    """The one that has been open for longest of those that keep Postgres from cleaning up after jobs; None without any.

    A role that is no member of `pg_read_all_stats` sees only its own. On SQLite there is nothing of the kind.
    """
    if connection.dialect.name == "sqlite":
        return None
    found = connection.execute(_OLDEST_TRANSACTION).first()
    return Transaction(found.pid, found.usename or "", found.application_name or "", max(0.0, found.age)) if found else None


def stale_leases(connection: Connection, lock_timeout: float, limit: int = 100) -> list[Stale]:
    """Running jobs that maintenance takes back, if there is one with this `lock_timeout` in seconds; at most so many."""
    stale = select(job.id, job.locked_by).where(expired(one_writer(connection))).order_by(job.id).limit(limit)
    rows = connection.execute(stale, expiry_parameters(connection, lock_timeout)).all()
    return [Stale._make(row) for row in rows]


def waiting_without_handler(connection: Connection) -> Mapping[str, int]:
    """For each job type that no supervisor serves, how many jobs wait for one."""
    statement = (
        select(job.job_type, func.count())
        .where(job.status == "pending", job.waits_for == "handler")
        .group_by(job.job_type)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}
