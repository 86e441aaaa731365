"""A SQLite file that is replaced or deleted under running processes: nothing is acknowledged that nobody will find."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from backends import DatabaseUnavailable, NewJob, Queue, Status, as_unavailable, open_engine, sqlite
from tests.supervisor.scene import Scene
from tests.support import eventually

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
JOURNALS = pytest.mark.parametrize("journal", ["wal", "rollback"])
ONE = [NewJob("quick", 1)]
TOLD = re.compile("another file was put in the place|is the write-ahead log of another file|no turn to write within 0.5 s")
"""What is said of a file that was replaced; and that one's turn did not come, as on a busy machine while a worker starts."""


@pytest.fixture
def file(database_url: str) -> Path:
    """The database's file."""
    return Path(database_url.removeprefix("sqlite:///"))


@pytest.fixture
def open_queue(database_url: str) -> Iterator[Callable[..., Queue]]:
    """Opens the database once more, as another process would."""
    opened: list[Queue] = []

    def open_it(**options: object) -> Queue:
        opened.append(Queue(open_engine(database_url, **options)))  # type: ignore[arg-type]
        return opened[-1]

    yield open_it
    for each in opened:
        each.engine.dispose()


def backup(queue: Queue, file: Path) -> Path:
    """A copy of the database as it is now, made by SQLite itself."""
    copy = file.with_name("backup.db")
    with queue.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.connection.driver_connection.execute(f"VACUUM INTO '{copy}'")  # type: ignore[union-attr]
    return copy


def jobs_in(queue: Queue) -> int:
    return queue.counts().pending


def verdict(queue: Queue) -> str:
    return str(queue.read(lambda connection: connection.execute(text("PRAGMA integrity_check")).scalar_one()))


def leave_no_log(file: Path) -> None:
    for end in ("-wal", "-shm"):
        Path(f"{file}{end}").unlink(missing_ok=True)


@JOURNALS
def test_a_backup_moved_over_the_file_stops_all_writing_to_the_old_one(
    open_queue: Callable[..., Queue], file: Path, journal: str
) -> None:
    running = open_queue(journal=journal)
    running.enqueue(ONE)
    copy = backup(running, file)
    running.enqueue(ONE)
    copy.replace(file)
    with pytest.raises(DatabaseUnavailable, match=r"another file was put in the place of .*queue\.db while it was in use"):
        running.enqueue(ONE)
    if journal == "wal":
        for again in (running, open_queue()):
            with pytest.raises(DatabaseUnavailable, match=r"queue\.db-wal is the write-ahead log of another file.*move"):
                again.counts()
        leave_no_log(file)
    assert jobs_in(running) == 1
    running.enqueue(ONE)
    assert jobs_in(open_queue(journal=journal)) == 2
    assert verdict(running) == "ok"


@JOURNALS
def test_a_file_that_was_deleted_is_not_made_anew_by_who_used_it(
    open_queue: Callable[..., Queue], file: Path, journal: str
) -> None:
    running, away = open_queue(journal=journal), file.with_name("away.db")
    running.enqueue(ONE)
    file.rename(away)
    for verb in (running.counts, lambda: running.enqueue(ONE), running.counts):
        with pytest.raises(DatabaseUnavailable, match=r"queue\.db"):
            verb()
    assert not file.exists()
    away.rename(file)
    running.enqueue(ONE)
    assert jobs_in(running) == 2


def test_a_file_that_was_deleted_with_its_log_is_not_made_anew_by_a_worker_that_starts(
    open_queue: Callable[..., Queue], file: Path
) -> None:
    open_queue().enqueue(ONE)
    for each in file.parent.glob("queue.db*"):
        each.unlink()
    with pytest.raises(DatabaseUnavailable, match=r"queue\.db is gone"):
        open_queue(make=False).counts()
    assert not file.exists()


def test_a_log_that_was_left_by_a_kill_is_read_by_its_own_file_wherever_both_are_moved(
    open_queue: Callable[..., Queue], file: Path, tmp_path: Path
) -> None:
    open_queue().enqueue(ONE)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for each in tmp_path.glob("queue.db*"):
        (elsewhere / each.name).write_bytes(each.read_bytes())
    copied = Queue(open_engine(f"sqlite:///{elsewhere}/queue.db"))
    assert jobs_in(copied) == 1
    copied.engine.dispose()


@JOURNALS
def test_a_commit_into_a_file_that_is_gone_by_then_is_not_called_one(
    open_queue: Callable[..., Queue], file: Path, journal: str
) -> None:
    running, away = open_queue(journal=journal), file.with_name("away.db")

    def enqueue_while_it_goes() -> None:
        with as_unavailable(), running.engine.begin() as connection:
            running.enqueue(ONE, connection)
            file.rename(away)

    with pytest.raises(DatabaseUnavailable):
        enqueue_while_it_goes()
    away.rename(file)
    assert verdict(running) == "ok"


def test_a_supervisor_says_that_its_file_was_replaced_and_goes_on_with_the_new_one(
    database_url: str, file: Path, tmp_path: Path
) -> None:
    scene = Scene(tmp_path, database_url).start()
    try:
        (first,) = scene.enqueue("quick")
        scene.becomes(first, Status.COMPLETED)
        copy = backup(scene.queue, file)
        os.replace(copy, file)
        scene.seen("database.lost", within=3)
        with pytest.raises(DatabaseUnavailable):
            scene.enqueue("quick")
        leave_no_log(file)
        (second,) = eventually(lambda: scene.enqueue("quick"))
        assert second == first + 1
        scene.becomes(second, Status.COMPLETED)
        reasons = {event["reason"] for event in scene.events("database.lost")}
        assert [each for each in reasons if not TOLD.search(each)] == []
        assert scene.process is not None
        assert scene.process.poll() is None
        assert verdict(scene.queue) == "ok"
    finally:
        scene.close()


def test_a_file_that_was_moved_away_from_its_log_is_asked_for_and_the_log_is_kept(
    open_queue: Callable[..., Queue], file: Path
) -> None:
    running, away = open_queue(), file.with_name("away.db")
    running.enqueue(ONE)
    file.rename(away)
    with pytest.raises(DatabaseUnavailable):
        running.counts()
    with pytest.raises(DatabaseUnavailable, match=r"put .*queue\.db back beside it, and delete neither"):
        running.counts()
    away.rename(file)
    assert jobs_in(running) == 1


def test_a_file_replaced_while_it_is_being_opened_is_not_taken_for_the_owner_of_the_log(
    open_queue: Callable[..., Queue], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = open_queue()
    running.enqueue(ONE)
    copy, configure = backup(running, file), sqlite._configure

    def configure_and_lose_it(*arguments: Any) -> None:
        configure(*arguments)
        copy.replace(file)

    monkeypatch.setattr(sqlite, "_configure", configure_and_lose_it)
    with pytest.raises(DatabaseUnavailable, match="another file was put in the place"):
        open_queue().counts()
    monkeypatch.undo()
    with pytest.raises(DatabaseUnavailable, match="is the write-ahead log of another file"):
        open_queue().counts()


def test_a_supervisor_outlives_that_a_file_stands_where_its_databases_folder_was(
    database_url: str, file: Path, tmp_path: Path
) -> None:
    folder, away = tmp_path / "data", tmp_path / "away"
    folder.mkdir()
    file.rename(folder / file.name)
    scene = Scene(tmp_path, f"sqlite:///{folder}/{file.name}").start()
    try:
        scene.becomes(*scene.enqueue("quick"), Status.COMPLETED)
        scene.queue.engine.dispose()
        folder.rename(away)
        folder.touch()
        scene.seen("database.unavailable")
        scene.seen("database.lost")
        folder.unlink()
        away.rename(folder)
        scene.becomes(*scene.enqueue("quick"), Status.COMPLETED)
        assert not scene.events("worker.lost") + scene.events("maintenance.lost")
    finally:
        scene.close()
