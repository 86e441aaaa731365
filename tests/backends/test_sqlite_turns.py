"""Writing processes on SQLite: none loses an update, none starves."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

from sqlalchemy import text

from backends import open_engine


def _count_up(url: str, times: int) -> None:
    engine = open_engine(url, connect_timeout=30)
    for _ in range(times):
        with engine.begin() as connection:
            seen = connection.execute(text("SELECT n FROM counter")).scalar_one()
            connection.execute(text("UPDATE counter SET n = :n"), {"n": seen + 1})
    os._exit(0)


def _write_for(url: str, seconds: float, share: object) -> None:
    engine = open_engine(url, connect_timeout=30)
    over = time.monotonic() + seconds
    while time.monotonic() < over:
        with engine.begin() as connection:
            connection.execute(text("UPDATE counter SET n = n + 1"))
        share.value += 1  # type: ignore[attr-defined]
    os._exit(0)


def _counter(path: Path) -> str:
    url = f"sqlite:///{path}/counter.db"
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE counter (n INTEGER)"))
        connection.execute(text("INSERT INTO counter VALUES (0)"))
    engine.dispose()
    return url


def _total(url: str) -> int:
    engine = open_engine(url)
    with engine.connect() as connection:
        total = connection.execute(text("SELECT n FROM counter")).scalar_one()
    engine.dispose()
    return int(total)


def test_two_processes_that_read_then_write_lose_nothing(tmp_path: Path) -> None:
    url = _counter(tmp_path)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_count_up, args=(url, 60)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert _total(url) == 120


def test_four_hot_writers_are_all_served(tmp_path: Path) -> None:
    url = _counter(tmp_path)
    context = multiprocessing.get_context("fork")
    shares = [context.Value("l", 0) for _ in range(4)]
    writers = [context.Process(target=_write_for, args=(url, 2.0, share)) for share in shares]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    served = sorted(share.value for share in shares)
    assert _total(url) == sum(served)
    assert served[0] >= 0.3 * served[-1], served
