"""SQLite: places where a file may lie, and waiting for others on both kinds of journal."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, TimeoutError

from backends import (
    BadDatabaseUrl,
    DatabaseUnavailable,
    NewJob,
    Queue,
    UnsafeFilesystem,
    checkpoint,
    is_unavailable,
    open_engine,
    upgrade,
)
from backends.sqlite import boot_clock, driver, filesystem_of, refuse_networked
from backends.turnstile import Turnstile, only_one
from tests.support import comes_true


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/queue.db"


def with_table(url: str, **options: object) -> Engine:
    engine = open_engine(url, **options)  # type: ignore[arg-type]
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS t (i)"))
    return engine


@pytest.mark.parametrize("bad", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///a.db?mode=ro", "jobs.db"])
def test_a_url_that_names_no_shared_file_is_refused(bad: str) -> None:
    with pytest.raises(BadDatabaseUrl, match=r"sqlite:///|`database:`"):
        open_engine(bad)


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=rf"cannot create .*No such file.*{tmp_path}/missing must be a folder"):
        Queue(open_engine(f"sqlite:///{tmp_path}/missing/queue.db")).get(1)


def test_two_names_of_a_file_share_one_turnstile(tmp_path: Path, url: str) -> None:
    with_table(url).dispose()
    (tmp_path / "alias.db").symlink_to(tmp_path / "queue.db")
    with_table(f"sqlite:///{tmp_path}/alias.db").dispose()
    assert {path.name for path in tmp_path.glob("alias*")} == {"alias.db"}


def test_neighbour_files_have_the_databases_own_mode(tmp_path: Path, url: str) -> None:
    (tmp_path / "queue.db").touch()
    (tmp_path / "queue.db").chmod(0o660)
    engine = with_table(url)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o660}
    engine.dispose()


def test_the_file_system_is_that_of_the_innermost_mount() -> None:
    mounts = "/dev/sda / ext4 rw 0 0\nhost:/x /srv nfs4 rw 0 0\n/dev/sdb /srv/my\\040jobs xfs rw 0 0\n"
    kinds = [filesystem_of(file, mounts) for file in ("/var/q.db", "/srv/q.db", "/srvq.db", "/srv/my jobs/q.db")]
    assert kinds == ["ext4", "nfs4", "ext4", "xfs"]


def test_a_network_file_system_is_a_mistake_in_the_url(tmp_path: Path) -> None:
    with pytest.raises(BadDatabaseUrl, match="lies on cifs"):
        refuse_networked(str(tmp_path), "cifs")
    assert issubclass(UnsafeFilesystem, BadDatabaseUrl)


def test_a_foreign_writer_without_a_turnstile_is_waited_for(tmp_path: Path, url: str) -> None:
    engine = with_table(url)
    foreign = driver.connect(tmp_path / "queue.db", isolation_level=None, check_same_thread=False)
    foreign.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, foreign.execute, ["ROLLBACK"]).start()
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
    foreign.close()
    engine.dispose()


def test_nobody_writes_between_a_transactions_first_look_and_its_write(tmp_path: Path, url: str) -> None:
    engine = with_table(url)
    foreign, said = driver.connect(tmp_path / "queue.db", isolation_level=None, timeout=0), ""
    with engine.begin() as connection:
        connection.execute(text("SELECT * FROM t")).all()
        try:
            foreign.execute("INSERT INTO t VALUES (1)")
        except driver.OperationalError as error:
            said = str(error)
    assert "locked" in said, "a foreign program wrote between a transaction's look and its write"
    foreign.close()
    engine.dispose()


def test_who_leaves_the_turnstile_does_not_push_in_before_who_waits(tmp_path: Path) -> None:
    (tmp_path / "queue.db").touch()
    passing, waiting = (Turnstile(str(tmp_path / "queue.db")) for _ in range(2))
    deadline, order = time.monotonic() + 10, []

    def wait() -> None:
        assert waiting.enter(deadline)
        order.append("who waited")
        waiting.leave()

    def somebody_waits_for_the_turn() -> bool:
        with only_one(str(tmp_path / "queue.db.turnstile-queue"), str(tmp_path / "queue.db")) as free:
            return not free

    assert passing.enter(deadline)
    late = threading.Thread(target=wait)
    late.start()
    assert comes_true(somebody_waits_for_the_turn), "nobody queues for the turn, so who leaves can push in before who waited"
    passing.leave()
    assert passing.enter(deadline)
    assert order == ["who waited"], "who had its turn pushed in before who waited"
    late.join()
    passing.close()
    waiting.close()


def test_with_a_rollback_journal_a_commit_waits_for_readers(url: str) -> None:
    writer, reader = with_table(url, journal="rollback"), open_engine(url, journal="rollback")
    reading = reader.connect().execution_options(jobqueue_read=True)
    reading.execute(text("SELECT * FROM t")).all()
    threading.Timer(0.3, reading.close).start()
    with writer.begin() as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
    writer.dispose()
    reader.dispose()


def test_with_a_rollback_journal_readers_wait_for_a_commit(url: str) -> None:
    writer, reader = with_table(url, journal="rollback"), open_engine(url, journal="rollback")
    held = writer.raw_connection()
    held.driver_connection.execute("BEGIN EXCLUSIVE")  # type: ignore[union-attr]
    threading.Timer(0.3, held.rollback).start()
    with reader.connect().execution_options(jobqueue_read=True) as connection:
        assert connection.execute(text("SELECT count(*) FROM t")).scalar() == 0
    held.close()
    writer.dispose()
    reader.dispose()


def test_a_connection_that_got_no_turn_can_be_used_again(url: str) -> None:
    first, second = with_table(url), open_engine(url, connect_timeout=0.1)
    with second.connect() as connection:
        with first.begin(), pytest.raises(DBAPIError) as caught:
            connection.execute(text("SELECT 1"))
        assert "no turn to write" in str(caught.value), "who had no turn to write began a transaction all the same"
        assert connection.execute(text("SELECT 1")).scalar() == 1
    first.dispose()
    second.dispose()


def test_a_full_disk_is_unavailable_and_its_connection_is_not_kept(url: str) -> None:
    engine = with_table(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 3")
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text("INSERT INTO t VALUES (zeroblob(100000))"))
    assert caught.value.connection_invalidated
    assert is_unavailable(caught.value)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO t VALUES (zeroblob(100000))"))
    engine.dispose()


def test_a_file_that_cannot_be_made_sense_of_is_unavailable_until_it_can(url: str) -> None:
    engine = open_engine(url, journal="rollback")
    upgrade(engine)
    queue = Queue(engine)
    queue.enqueue([NewJob("a", 1)])
    file = Path(url.removeprefix("sqlite:///"))
    whole = file.read_bytes()
    changed = b"\xff" * 4  # the count of changes, at two places, so that the connection looks again
    with file.open("r+b") as held:
        held.write(whole[:24] + changed + whole[28:92] + changed + whole[96:])
        held.truncate(len(whole) // 2)
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable, match="malformed"):
            queue.enqueue([NewJob("a", 1)])
    file.write_bytes(whole)
    queue.enqueue([NewJob("a", 1)])
    assert queue.counts().pending == 2
    engine.dispose()


def test_an_exhausted_pool_is_unavailable() -> None:
    assert is_unavailable(TimeoutError("QueuePool limit"))


def test_a_large_log_is_emptied_by_one_process_at_a_time(tmp_path: Path, url: str) -> None:
    engine = with_table(url, autocheckpoint=0)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO t VALUES (zeroblob(2000000))"))
    log = tmp_path / "queue.db-wal"
    database = tmp_path / "queue.db"
    with only_one(f"{database}.checkpointer", str(database)) as ours:
        assert ours
        assert checkpoint(engine, large=1_000_000) is False
    assert log.stat().st_size > 1_000_000
    assert checkpoint(engine, large=1_000_000) is True
    assert log.stat().st_size == 0
    engine.dispose()


def test_the_boot_clock_belongs_to_this_boot_and_only_rises() -> None:
    (boot, earlier), (same, later) = boot_clock(), boot_clock()
    assert boot == same == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert later >= earlier > 0
