"""A takeover that is killed at any moment is gone on with by the next one, and ends the same.

A run of the tests tries a sample of the moments; `JOBQUEUE_EVERY_MOMENT=1 pytest tests/backends/test_takeover_interrupted.py`
tries them all.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, event, select, text

from backends import check, migrate, open_engine
from tests.backends.legacy_tables import ENUM, make
from tests.conftest import _postgres_database

SAMPLE = 6


@contextmanager
def _database(backend: str, folder: Path, copy_of: str = "") -> Iterator[str]:
    """The URL of a database: empty, or a copy of another one."""
    if backend == "sqlite":
        file = folder / "legacy.db" if not copy_of else folder / "copy.db"
        for old in folder.glob(f"{file.name}*"):
            old.unlink()
        if copy_of:
            shutil.copy(copy_of.removeprefix("sqlite:///"), file)
        yield f"sqlite:///{file}"
        return
    template = f'TEMPLATE "{copy_of.rpartition("/")[2]}"' if copy_of else ""
    yield from _postgres_database(template)


def _migrate_until(url: str, moment: int) -> int:
    """Migrate in a process of its own that is killed at this moment (0: never); returns how many moments there were."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        engine = open_engine(url, journal="unchanged")
        passed = _die_at(engine, moment)
        migrate(engine, batch=7)
        os.write(writer, str(len(passed)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == (-signal.SIGKILL if moment else 0)
    return int(said or 0)


def _die_at(engine: Engine, moment: int) -> list[str]:
    """A moment is before a statement, after it, and before a commit."""
    passed: list[str] = []

    def pass_by(*arguments: Any) -> None:
        passed.append("")
        if len(passed) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
        event.listen(engine, name, lambda *arguments: pass_by())
    return passed


def _whole(url: str) -> dict[str, Any]:
    """All that is in the database: every table, row by row, and how it is declared."""
    engine = open_engine(url, journal="unchanged")
    check(engine)
    found = MetaData()
    found.reflect(engine)
    with engine.connect() as connection:
        whole: dict[str, Any] = {
            each.name: sorted(map(repr, connection.execute(select(each)))) for each in found.sorted_tables
        }
        for query in DECLARED[engine.dialect.name]:
            whole[query] = sorted(map(repr, connection.execute(text(query))))
    engine.dispose()
    return whole


DECLARED = {
    "sqlite": ["SELECT type, name, tbl_name, sql FROM sqlite_master", "SELECT name, seq FROM sqlite_sequence"],
    "postgresql": [
        "SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index WHERE indrelid::regclass::text !~ '^pg_'",
        "SELECT conname, convalidated, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid <> 0 AND contype <> 'n'",
        "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public'",
        "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    ],
}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("changes", ["", ENUM], ids=["plain", "enum"])
def test_a_takeover_that_is_killed_at_any_moment_ends_the_same(backend: str, changes: str, tmp_path: Path) -> None:
    if changes and backend == "sqlite":
        pytest.skip("there are no enumerated types on SQLite")
    with _database(backend, tmp_path) as original:
        engine = open_engine(original, journal="unchanged")
        make(engine, rows=40, changes=changes)
        engine.dispose()
        with _database(backend, tmp_path, copy_of=original) as url:
            moments = _migrate_until(url, 0)
            wanted = _whole(url)
        for moment in _chosen(moments):
            with _database(backend, tmp_path, copy_of=original) as url:
                _migrate_until(url, moment)
                _migrate_until(url, 0)
                found = _whole(url)
                differences = {name: set(found[name]) ^ set(wanted[name]) for name in wanted if found[name] != wanted[name]}
                assert not differences, f"killed at moment {moment} of {moments}"


def _chosen(moments: int) -> range:
    every = 1 if os.environ.get("JOBQUEUE_EVERY_MOMENT") else max(1, moments // SAMPLE)
    return range(1 if every == 1 else every // 2, moments + 1, every)
