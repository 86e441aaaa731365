"""Postgres: addresses, poolers, hints of new work, and what other people's INSERTs may look like."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from backends import BadDatabaseUrl, DatabaseUnavailable, check, open_engine, tell_of_waiting, upgrade
from backends.postgres import Listener, listen, masked
from tests.postgres import PrivatePostgres
from tests.support import eventually, free_port

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
INSERT = "INSERT INTO {} (program_id, job_type) VALUES (1, 'full_scan')"


@pytest.fixture(autouse=True)
def backend() -> str:
    """Postgres alone."""
    return "postgresql"


@pytest.fixture
def listener(database_url: str) -> Iterator[Listener]:
    """Somebody who listens for new jobs."""
    engine = open_engine(database_url)
    listening = listen(engine, "jobqueue")
    assert listening is not None
    yield listening
    listening.close()
    engine.dispose()


def with_option(url: str, option: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}options={option}"


def test_a_url_that_cannot_be_read_is_refused_without_its_password() -> None:
    with pytest.raises(BadDatabaseUrl, match=r"u:\*\*\*@h") as caught:
        open_engine("postgresql://u:geheim@h:abc:5/x/y z?q")
    assert "geheim" not in str(caught.value)
    assert caught.value.__context__ is None or "geheim" not in str(caught.value.__context__)


@pytest.mark.parametrize("url", ["postgresql://u:ge@heim@h/d", "postgresql://h/d?user=u&password=ge@heim&x=1"])
def test_no_spelling_of_a_password_is_shown(url: str) -> None:
    assert "heim" not in masked(url)


def test_options_in_the_url_stand_beside_our_timeouts(database_url: str) -> None:
    engine = open_engine(with_option(database_url, "-cwork_mem%3D8MB"))
    with engine.connect() as connection:
        assert connection.execute(text("SHOW work_mem")).scalar() == "8MB"
        assert connection.execute(text("SHOW statement_timeout")).scalar() == "30s"
    engine.dispose()


def test_a_statement_with_rows_is_announced_with_their_number(database_url: str, listener: Listener) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO indexing_jobs (program_id, job_type) SELECT 1, 'x' FROM generate_series(1, 3)")
    assert eventually(listener.drain, within=3) == ["3"]


def test_a_statement_without_rows_is_not_announced(database_url: str, listener: Listener) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO indexing_jobs (program_id, job_type) SELECT 1, 'x' WHERE false")
    listener.ping()
    assert listener.drain() == []


def test_a_lost_listener_says_so(database_url: str, listener: Listener) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                           " WHERE datname = current_database() AND pid <> pg_backend_pid()")
    with pytest.raises(DatabaseUnavailable):
        eventually(listener.drain, within=3)
    with pytest.raises(DatabaseUnavailable):
        listener.ping()


def test_a_plain_insert_works_from_another_search_path(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("SET search_path = pg_catalog")
        connection.execute(INSERT.format("public.indexing_jobs"))
        assert connection.execute("SELECT change FROM public.jobqueue_count_deltas").fetchall() == [(1,)]


def test_a_plain_insert_needs_no_rights_on_our_other_tables(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        role = sql.Identifier(f"only_inserts_{connection.info.backend_pid}")
        connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        connection.execute(sql.SQL("GRANT INSERT ON indexing_jobs TO {}").format(role))
        connection.execute(sql.SQL("GRANT USAGE ON SEQUENCE indexing_jobs_id_seq TO {}").format(role))
        connection.execute(sql.SQL("SET ROLE {}").format(role))
        connection.execute(INSERT.format("indexing_jobs"))
        connection.rollback()


def test_a_schema_of_any_name_holds_the_tables(database_url: str) -> None:
    name = "s" * 60
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    engine = open_engine(with_option(database_url, f"-csearch_path%3D{name}"))
    upgrade(engine)
    listening = listen(engine, "jobqueue")
    assert listening is not None
    with psycopg.connect(database_url) as connection:
        connection.execute(INSERT.format(f"{name}.indexing_jobs"))
    assert eventually(listening.drain, within=3) == ["1"]
    listening.close()
    engine.dispose()


@pytest.fixture
def pooled_url(tmp_path: Path) -> Iterator[str]:
    """A PgBouncer in transaction mode before a server of its own."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed")
    server = PrivatePostgres().start()
    folder, port = server.folder / "pool", free_port()
    folder.mkdir()
    folder.chmod(0o777)
    settings = folder / "pgbouncer.ini"
    user = "user = nobody\n" if os.geteuid() == 0 else ""
    settings.write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"unix_socket_dir =\nauth_type = any\npool_mode = transaction\n{user}"
    )
    with (tmp_path / "log").open("wb") as log:
        pooler = subprocess.Popen([PGBOUNCER, str(settings)], stdout=log, stderr=log)
    try:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        eventually(lambda: answers(url))
        yield url
    finally:
        pooler.terminate()
        pooler.wait()
        server.remove()


def answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_transaction_pooler_is_enough_for_a_migration_and_a_transaction(pooled_url: str) -> None:
    engine = open_engine(pooled_url, pooler="transaction")
    assert upgrade(engine).created
    check(engine)
    for _ in range(8):  # more often than psycopg would need to start preparing
        with engine.begin() as connection:
            connection.execute(text(INSERT.format("indexing_jobs")))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM indexing_jobs")).scalar() == 8
    assert listen(engine, "jobqueue") is None
    engine.dispose()


def test_a_thread_hears_of_each_host_that_it_tries_and_of_each_answer_and_others_hear_nothing(database_url: str) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    before_ours = f"@127.0.0.1:{silent.getsockname()[1]},127.0.0.1:1,"
    engine = open_engine(database_url.replace("@", before_ours, 1), connect_timeout=2)
    began = time.monotonic()
    told: list[tuple[float, bool]] = []
    asked: list[bool] = []

    def connect_and_ask() -> None:
        tell_of_waiting(lambda waits: told.append((time.monotonic() - began, waits)))
        with engine.connect() as connection:
            connecting = len(told)
            connection.execute(text("SELECT 1"))
            asked.extend(waits for _, waits in told[connecting:])

    asking = threading.Thread(target=connect_and_ask)
    asking.start()
    asking.join(20)
    assert asked == [True, False], "one statement, sent and answered"
    after = [waits for at, waits in told if at > 1.5]
    assert told[0][1], "the silent host was waited for untold"
    assert after[:4] == [False, True, False, True], "its end, the closed host's, and the next one's beginning were not told"
    assert not told[-1][1]
    number = len(told)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    assert len(told) == number
    engine.dispose()
    silent.close()
