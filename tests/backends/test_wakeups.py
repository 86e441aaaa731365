"""Wake-ups: hints of new work from any program, and nothing carried over a fork."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
from sqlalchemy import Engine, text

from backends import DatabaseUnavailable, InheritedConnection, NewJob, Queue, Watch, open_engine, watch
from tests.backends.scene import insert_raw, running
from tests.postgres import PrivatePostgres
from tests.support import REPOSITORY, eventually


@pytest.fixture
def hints(engine: Engine) -> Iterator[Watch]:
    """A watch on the database."""
    watching = watch(engine)
    yield watching
    watching.close()


INSERT = """
import sys
from tests.backends.scene import foreign_engine, insert_raw
with foreign_engine(sys.argv[1]).begin() as connection:
    for _ in range(int(sys.argv[2])):
        insert_raw(connection)
"""


def _insert_elsewhere(url: str, number: int = 1) -> None:
    subprocess.run([sys.executable, "-c", INSERT, url, str(number)], check=True, cwd=REPOSITORY)


def test_an_insert_by_another_process_is_seen(hints: Watch, queue: Queue, database_url: str) -> None:
    eventually(lambda: hints.poll() == 0)
    _insert_elsewhere(database_url)
    assert eventually(hints.poll, within=2) >= 1
    assert queue.claim("t:1", ("quick",), 5)


def test_many_inserts_are_one_hint_or_more(hints: Watch, queue: Queue, database_url: str) -> None:
    eventually(lambda: hints.poll() == 0)
    _insert_elsewhere(database_url, 30)
    assert eventually(hints.poll, within=2) >= 1


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_the_descriptor_is_readable_when_there_is_news(hints: Watch, engine: Engine) -> None:
    descriptor = hints.fileno()
    assert descriptor is not None
    assert select.select([descriptor], [], [], 0)[0] == []
    insert_raw(engine)
    assert select.select([descriptor], [], [], 5)[0] == [descriptor]
    assert hints.poll() == 1
    assert select.select([descriptor], [], [], 0)[0] == []


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_one_insert_of_many_rows_says_how_many(hints: Watch, queue: Queue) -> None:
    queue.enqueue([NewJob("quick", 1) for _ in range(20)])
    assert eventually(hints.poll, within=5) == 20


def test_what_was_not_committed_gives_no_hint(hints: Watch, engine: Engine) -> None:
    eventually(lambda: hints.poll() == 0)
    with engine.connect() as connection:
        insert_raw(connection)
        assert hints.poll() == 0
        connection.rollback()
    assert hints.poll() == 0


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_another_databases_news_are_not_heard(hints: Watch, two_queues: tuple[Queue, Queue]) -> None:
    two_queues[1].enqueue([NewJob("quick", 1)])
    assert hints.poll() == 0


def test_a_watch_leaves_a_server_that_takes_no_more_writes() -> None:
    server = PrivatePostgres().start()
    seconds = count(step=1.0)
    engine = open_engine(server.url())
    try:
        watching = watch(engine, clock=lambda: next(seconds))
        assert [watching.poll() for _ in range(30)] == [0] * 30
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            connection.execute("SELECT pg_reload_conf()")
        with pytest.raises(DatabaseUnavailable, match="takes no more writes"):
            eventually(lambda: watching.poll() < 0)
        watching.close()
    finally:
        engine.dispose()
        server.remove()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_behind_a_transaction_pooler_nobody_listens(database_url: str) -> None:
    own = open_engine(database_url, pooler="transaction")
    deaf = watch(own)
    assert (deaf.fileno(), deaf.poll()) == (None, 0)
    deaf.close()
    own.dispose()


def test_a_forked_process_may_not_use_an_inherited_connection(queue: Queue) -> None:
    with queue.engine.connect() as inherited:
        pid = os.fork()
        if not pid:
            try:
                inherited.execute(text("SELECT 1"))
            except BaseException as error:
                os._exit(7 if isinstance(error, InheritedConnection) else 8)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert inherited.execute(text("SELECT 1")).scalar_one() == 1
    running(queue)
