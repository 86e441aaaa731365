"""Damage that is done to a database's files is found, by each means that there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from backends import NewJob, Queue, open_engine, upgrade
from backends.sqlite import driver
from tests import postgres
from tests.postgres import PrivatePostgres

from .checker import check, gather
from .damage import inspect
from .witness import install

OF_THE_SYSTEM = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
"""A server with all that belongs to it, `amcheck` included, where the system has one; that of the tests has less."""


@pytest.fixture(scope="module", params=["of the tests", "of the system"])
def server(request: pytest.FixtureRequest) -> Iterator[PrivatePostgres]:
    """A server whose databases a test may damage."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "of the system":
            if not OF_THE_SYSTEM:
                pytest.skip("no server but that of the tests is installed")
            patch.setattr(postgres, "_runnable_binaries", lambda: OF_THE_SYSTEM[-1].parent)
            patch.setattr(postgres, "_pristine", postgres._pristine.__wrapped__)
        server = PrivatePostgres("autovacuum = off").start()
        yield server
        server.remove()


@pytest.fixture
def its(server: PrivatePostgres, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine on a database there, with some jobs."""
    name = f"damaged_{abs(hash(request.node.name))}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    engine = open_engine(server.url(name))
    upgrade(engine)
    install(engine)
    Queue(engine).enqueue([NewJob("t", 1, unique_key=f"key {number}", priority=number % 3) for number in range(100)])
    yield engine
    engine.dispose()


def test_whole_files_are_whole_and_left_as_they_are(its: Engine) -> None:
    catalog = "SELECT count(*), sum(i.indisvalid::int) FROM pg_class, pg_index i"
    with its.connect() as connection:
        before = connection.exec_driver_sql(catalog).one()
    first, second = inspect(its), inspect(its)
    assert first.found == second.found == ()
    assert first.by in ("amcheck", "each index beside its table")
    with its.connect() as connection:
        assert connection.exec_driver_sql(catalog).one() == before


def test_an_index_without_a_row_of_its_table_is_found(its: Engine) -> None:
    with its.begin() as connection:
        connection.exec_driver_sql("UPDATE pg_index SET indisready = false WHERE indexrelid = 'jobqueue_unique_key'::regclass")
    its.dispose()
    Queue(its).enqueue([NewJob("t", 1)])
    with its.begin() as connection:
        connection.exec_driver_sql("UPDATE indexing_jobs SET unique_key = 'another' WHERE id = 101")
        connection.exec_driver_sql("UPDATE pg_index SET indisready = true WHERE indexrelid = 'jobqueue_unique_key'::regclass")
    its.dispose()
    [found] = inspect(its).found
    assert "jobqueue_unique_key" in found


def test_a_table_whose_page_is_overwritten_is_found(server: PrivatePostgres, its: Engine) -> None:
    with its.connect() as connection:
        path = connection.exec_driver_sql("SELECT pg_relation_filepath('witness_changes')").scalar_one()
    its.dispose()
    server.stop("fast")
    with (server.folder / "data" / path).open("r+b") as file:
        file.seek(24)  # after the page's header: where the first row is
        file.write((8191 | 1 << 15 | 50 << 17).to_bytes(4, "little"))
    server.start()
    assert [found for found in inspect(its).found if "witness_changes" in found or "invalid page" in found]


def test_who_may_not_inspect_a_server_says_so_aloud(server: PrivatePostgres, its: Engine, tmp_path: Path) -> None:
    with its.begin() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql("CREATE ROLE guest LOGIN")
        connection.exec_driver_sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")
    guest = open_engine(server.url(name).replace("postgres@", "guest@"))
    try:
        with pytest.warns(UserWarning, match="nobody looked for damage"):
            gather(guest, tmp_path)
    finally:
        guest.dispose()


@pytest.fixture
def file(sqlite_template: Path, tmp_path: Path) -> Path:
    """A SQLite file with two jobs that may be damaged."""
    path = tmp_path / "queue.db"
    path.write_bytes(sqlite_template.read_bytes())
    connection = driver.connect(str(path))
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("INSERT INTO indexing_jobs (program_id, job_type, unique_key) VALUES (1, 't', 'a')")
    connection.commit()
    connection.close()
    return path


def found_in(path: Path) -> tuple[str, ...]:
    """What is found in it."""
    engine = open_engine(f"sqlite:///{path}")
    try:
        return inspect(engine).found
    finally:
        engine.dispose()


def test_an_index_of_sqlite_without_a_row_of_its_table_is_found(file: Path) -> None:
    assert found_in(file) == ()
    index = "name = 'jobqueue_unique_key'"
    connection = driver.connect(str(file), isolation_level=None)
    kept = connection.execute(f"SELECT * FROM sqlite_master WHERE {index}").fetchone()
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(f"DELETE FROM sqlite_master WHERE {index}")
    connection.close()
    connection = driver.connect(str(file), isolation_level=None)
    connection.execute("INSERT INTO indexing_jobs (program_id, job_type, unique_key) VALUES (1, 't', 'b')")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", kept)
    connection.close()
    assert [found for found in found_in(file) if "jobqueue_unique_key" in found]


def test_a_row_of_sqlite_that_refers_to_nothing_is_found(file: Path) -> None:
    connection = driver.connect(str(file), isolation_level=None)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("INSERT INTO jobqueue_file_texts (file_id, content) VALUES (7, 'x')")
    connection.close()
    assert found_in(file) == ("row 7 of jobqueue_file_texts refers to a row of indexed_files that is not there",)


def test_what_is_found_breaks_a_promise(file: Path, tmp_path: Path) -> None:
    connection = driver.connect(str(file), isolation_level=None)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("INSERT INTO jobqueue_file_texts (file_id, content) VALUES (7, 'x')")
    connection.close()
    engine = open_engine(f"sqlite:///{file}")
    install(engine)
    violations = check(gather(engine, tmp_path))
    engine.dispose()
    assert "I7" in {violation.promise for violation in violations}
