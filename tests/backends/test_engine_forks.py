"""What a fork does to connections: the child is refused them, and the parent does not notice."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import PendingRollbackError

from backends import InheritedConnection, is_unavailable, open_connections, open_engine
from backends.sqlite import driver
from tests.audit import forbid_opening_databases

REFUSED = 77


def in_a_child(work: Callable[[], object]) -> int:
    """The exit code of a forked child that runs `work`: 0, `REFUSED`, or 1 for any other error."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except InheritedConnection:
            code = REFUSED
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def select_one(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1


def test_a_child_counts_no_connections_of_its_parent(engine: Engine) -> None:
    before = open_connections()
    select_one(engine)
    assert open_connections() == before + 1
    assert in_a_child(lambda: os._exit(open_connections())) == 0


def test_an_engine_carried_over_a_fork_is_refused(engine: Engine) -> None:
    select_one(engine)
    assert in_a_child(lambda: select_one(engine)) == REFUSED
    select_one(engine)


def test_an_engine_of_the_childs_own_works_when_the_parent_closed_its(database_url: str) -> None:
    engine = open_engine(database_url)
    select_one(engine)
    engine.dispose()
    assert in_a_child(lambda: select_one(open_engine(database_url))) == 0


def test_a_sqlite_file_open_at_the_fork_is_refused_for_good(sqlite_url: str) -> None:
    # The library would trust locks of the parent's that the child does not have; a commit in the child could be lost.
    engine = open_engine(sqlite_url)
    select_one(engine)
    assert in_a_child(lambda: select_one(open_engine(sqlite_url))) == REFUSED
    engine.dispose()
    assert in_a_child(lambda: select_one(open_engine(sqlite_url))) == 0


def test_closing_and_rolling_back_in_a_child_leave_the_parents_transaction_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO jobqueue_lanes (name) VALUES ('a')"))
        assert in_a_child(connection.rollback) == 0
        assert in_a_child(connection.close) == 0
        assert in_a_child(lambda: connection.execute(text("SELECT 1"))) == REFUSED
        connection.execute(text("INSERT INTO jobqueue_lanes (name) VALUES ('b')"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM jobqueue_lanes")).scalar() == 2


def test_a_child_that_ends_a_transaction_does_not_give_its_parents_turn_away(sqlite_url: str) -> None:
    engine, other = open_engine(sqlite_url), open_engine(sqlite_url, connect_timeout=0.2)
    with engine.begin() as connection:
        assert in_a_child(connection.rollback) == 0
        with pytest.raises(Exception, match="no turn to write") as caught, other.begin():
            pass
        assert is_unavailable(caught.value)
    engine.dispose()
    other.dispose()


def test_a_child_neither_uses_its_parents_handle_nor_opens_the_file_anew(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library tells each statement on the handle, and each opening is heard of, whatever the child tries."""
    engine, heard = open_engine(sqlite_url), list[str]()
    with engine.begin() as connection:
        own = connection.connection.driver_connection
        assert own is not None
        own.set_trace_callback(heard.append)
        connection.execute(text("SELECT 1"))
        assert heard == ["SELECT 1"]
        monkeypatch.setattr(driver, "connect", lambda file, **options: heard.append(f"opened {file}"))

        def try_everything() -> None:
            forbid_opening_databases()
            heard.clear()
            for attempt in (
                lambda: connection.execute(text("SELECT 2")), connection.commit, connection.rollback, connection.close,
                own.commit, own.rollback, own.close, engine.dispose,
                lambda: select_one(engine), lambda: select_one(open_engine(sqlite_url)),
            ):
                with suppress(InheritedConnection, PendingRollbackError):
                    attempt()
            gc.collect()
            assert heard == []

        assert in_a_child(try_everything) == 0
        monkeypatch.undo()
        connection.execute(text("SELECT 3"))
    assert heard[-2:] == ["SELECT 3", "COMMIT"]
    engine.dispose()


def test_a_process_that_opens_a_database_file_itself_is_found_out(sqlite_url: str, tmp_path: Path) -> None:
    engine = open_engine(sqlite_url)
    select_one(engine)
    engine.dispose()

    def open_it() -> None:
        forbid_opening_databases()
        os.close(os.open(tmp_path / "new.db", os.O_CREAT | os.O_EXCL | os.O_RDWR))
        (tmp_path / "queue.db.turnstile").read_bytes()
        for end in ("", "-wal", "-shm"):
            with pytest.raises(AssertionError, match="drops SQLite's locks"):
                (tmp_path / f"queue.db{end}").open("rb")

    assert in_a_child(open_it) == 0


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/queue.db"
