"""Opening a database: refusals, forks, outages, and how long anything may wait."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from backends import (
    BadDatabaseUrl,
    DatabaseUnavailable,
    InheritedConnection,
    JobTypeFacts,
    NewJob,
    Queue,
    UnsafeFilesystem,
    is_unavailable,
    open_connections,
    open_engine,
    upgrade,
)
from backends import sqlite as sqlite_backend
from tests.postgres import PrivatePostgres
from tests.support import eventually


def test_an_unknown_scheme_is_refused_with_what_would_be_right() -> None:
    with pytest.raises(BadDatabaseUrl, match="'mysql' is not a database this program knows; use sqlite"):
        open_engine("mysql://localhost/jobs")


def test_several_hosts_mean_the_one_that_takes_writes(database_url: str, backend: str) -> None:
    if backend == "sqlite":
        assert open_engine(database_url).url.drivername == "sqlite"
        return
    before, _, after = database_url.partition("@")
    engine = open_engine(f"{before}@127.0.0.1:1,{after}")
    with engine.connect() as connection:
        assert connection.execute(text("SHOW transaction_read_only")).scalar() == "off"
    engine.dispose()


def test_open_connections_are_counted(engine: Engine) -> None:
    before = open_connections()
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        assert open_connections() == before + 1
    engine.dispose()
    assert open_connections() == before


def test_a_connection_carried_over_a_fork_is_refused_in_the_child(engine: Engine) -> None:
    carried = engine.connect()
    carried.execute(text("SELECT 1"))
    carried.rollback()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            carried.execute(text("SELECT 1"))
        except InheritedConnection:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert carried.execute(text("SELECT 1")).scalar() == 1
    carried.close()


def test_a_stopped_backend_is_given_up_after_the_deadline() -> None:
    server = PrivatePostgres().start()
    try:
        engine = open_engine(server.url(), statement_timeout=0.5)
        with engine.connect() as connection:
            backend_pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            os.kill(backend_pid, signal.SIGSTOP)
            began = time.monotonic()
            with pytest.raises(DBAPIError) as caught:
                connection.execute(text("SELECT 1"))
            os.kill(backend_pid, signal.SIGCONT)
        assert is_unavailable(caught.value)
        assert time.monotonic() - began < 4.0
        engine.dispose()
    finally:
        server.remove()


def test_a_primary_that_became_read_only_is_left() -> None:
    server = PrivatePostgres().start()
    try:
        engine = open_engine(server.url())
        with engine.connect() as connection:
            connection.execute(text("SET default_transaction_read_only = on"))
            connection.commit()
            with pytest.raises(DBAPIError) as caught:
                connection.execute(text("CREATE TABLE t (i int)"))
        assert caught.value.connection_invalidated
        assert is_unavailable(caught.value)
        engine.dispose()
    finally:
        server.remove()


def test_a_commit_that_its_synchronous_replica_does_not_have_is_not_acknowledged() -> None:
    server = PrivatePostgres().start()
    try:
        engine = open_engine(server.url(), statement_timeout=5)
        upgrade(engine)
        queue, keyed = Queue(engine), NewJob("t", program_id=1, unique_key="once")
        set_replicas(server, "one that is away")
        with ThreadPoolExecutor() as pool:
            for new in ([NewJob("t", program_id=1)], [keyed], [keyed], [keyed, NewJob("t", program_id=1, unique_key="twice")]):
                asked = pool.submit(queue.enqueue, new)
                eventually(lambda: cancel_waits(server))  # the server then calls it committed, and warns
                with pytest.raises(DatabaseUnavailable, match="replica"):
                    asked.result()
        set_replicas(server, "")
        assert queue.enqueue([keyed]) == queue.enqueue([keyed])
        engine.dispose()
    finally:
        server.remove()


@pytest.mark.parametrize("pooler", ["none", "transaction"])
def test_retries_while_the_synchronous_replica_is_away_do_not_use_up_the_servers_connections(pooler: str) -> None:
    server = PrivatePostgres("max_connections = 20").start()
    engine = open_engine(server.url(), pooler=pooler, statement_timeout=0.1)  # given up after 2.1 s
    queue = Queue(engine)
    try:
        upgrade(engine)
        queue.register({"t": JobTypeFacts(None)}, "test")
        queue.enqueue([NewJob("t", program_id=1)] * 40)
        set_replicas(server, "one that is away")
        said = ""
        with ThreadPoolExecutor(4) as pool:
            for turn in range(6):
                asked = [pool.submit(queue.claim, f"one:{turn}-{number}", ["t"], 1) for number in range(3)]
                for each in (*asked, pool.submit(queue.enqueue, [NewJob("t", program_id=1)])):
                    said += str(each.exception())
        assert "no more than 5 are left with the server" in said
        with psycopg.connect(server.url(), autocommit=True) as connection:
            others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            [(left,)] = connection.execute(others).fetchall()
        assert 5 <= left < 5 + 4, "each of four may have seen four"
        set_replicas(server, "")
        assert eventually(lambda: claimed(queue)), "nobody waits any more, but claims are refused"
    finally:
        engine.dispose()
        server.remove()


def claimed(queue: Queue) -> bool:
    """Whether a job could be claimed."""
    with suppress(DatabaseUnavailable):
        return bool(queue.claim("one:last", ["t"], 1))
    return False


def cancel_waits(server: PrivatePostgres) -> int:
    """Do what an operator may do to those who wait for a replica; returns how many there were."""
    waiting = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        [(cancelled,)] = connection.execute(waiting).fetchall()
        return int(cancelled)


def set_replicas(server: PrivatePostgres, names: str) -> None:
    """Have commits wait for a replica of that name; nobody has it."""
    quoted = f'"{names}"' if names else ""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{quoted}'".encode())
        connection.execute("SELECT pg_reload_conf()")
    with psycopg.connect(server.url()) as connection:
        eventually(lambda: connection.execute("SHOW synchronous_standby_names").fetchone() == (quoted,))


def test_a_database_that_is_not_there_is_unavailable_and_not_an_error_of_the_driver(tmp_path: Path) -> None:
    queue = Queue(open_engine("postgresql://nobody@127.0.0.1:1/none", connect_timeout=2))
    with pytest.raises(DatabaseUnavailable):
        queue.get(1)


@pytest.mark.parametrize(
    ("version", "safe"),
    [((3, 40, 1), False), ((3, 44, 6), True), ((3, 45, 0), False), ((3, 50, 7), True), ((3, 51, 2), False), ((3, 51, 3), True),
     ((3, 53, 4), True)],
)
def test_only_libraries_without_the_wal_reset_bug_use_a_write_ahead_log(version: tuple[int, ...], safe: bool) -> None:
    assert sqlite_backend.safe_for_wal(version) is safe


@pytest.mark.parametrize("journal", ["wal", "rollback"])
def test_a_commit_on_sqlite_is_on_disk(tmp_path: Path, journal: str) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/queue.db", journal=journal)
    with engine.connect() as connection:
        mode = connection.execute(text("PRAGMA journal_mode")).scalar()
        level = connection.execute(text("PRAGMA synchronous")).scalar()
    assert (mode, level) in (("wal", 2), ("delete", 3)), "a commit that returned may not be on disk"
    assert mode == "delete" or journal == "wal"
    assert (tmp_path / "queue.db").stat().st_mode & 0o077 == 0
    engine.dispose()


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_backend, "filesystem_of", lambda file: "nfs4")
    engine = open_engine(f"sqlite:///{tmp_path}/queue.db")
    with pytest.raises(UnsafeFilesystem, match="lies on nfs4, where SQLite's locks do not hold; use a local disk, or Postgres"):
        engine.connect()


def test_a_writer_that_gets_no_turn_is_told_so_in_time(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/queue.db"
    first, second = open_engine(url), open_engine(url, connect_timeout=0.2)
    with first.begin():
        began = time.monotonic()
        with pytest.raises(DBAPIError) as caught, second.begin():
            pass
        assert is_unavailable(caught.value)
        assert time.monotonic() - began < 2.0
    with second.begin() as connection:
        connection.execute(text("CREATE TABLE t (i)"))
    first.dispose()
    second.dispose()


def test_reading_takes_no_turn(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/queue.db"
    writer, reader = open_engine(url), open_engine(url)
    with reader.connect() as connection:
        connection.execute(text("SELECT 1"))
    with writer.begin(), reader.connect().execution_options(jobqueue_read=True) as connection:
        assert connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar() == 0
    writer.dispose()
    reader.dispose()
