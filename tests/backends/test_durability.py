"""A Postgres server that acknowledges commits before they are on a disk is refused, wherever it was told to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from backends import Queue, UnsafeCommits, open_engine, refuse_unsafe_commits, upgrade
from tests.postgres import PrivatePostgres
from tests.supervisor.scene import Scene
from tests.support import eventually


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    """A server whose settings may be changed."""
    server = PrivatePostgres().start()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE app SUPERUSER LOGIN")
        connection.execute('CREATE DATABASE "my-jobs"')
    yield server
    server.remove()


def refusal_at(url: str) -> str:
    """What is said; empty when the server is fine."""
    engine = open_engine(url)
    try:
        Queue(engine).read(refuse_unsafe_commits)
    except UnsafeCommits as error:
        return str(error)
    finally:
        engine.dispose()
    return ""


@pytest.mark.parametrize(
    ("told", "where"),
    [
        ("ALTER SYSTEM", "for the whole server ("),
        ("ALTER ROLE ALL", "for all roles"),
        ("ALTER DATABASE \"my-jobs\"", 'for the database "my-jobs"'),
        ("ALTER ROLE app", "for the role app"),
        ("ALTER ROLE app IN DATABASE \"my-jobs\"", 'for the role app in the database "my-jobs"'),
    ],
)
def test_the_place_where_commits_were_made_unsafe_is_named_with_a_cure_that_works(
    server: PrivatePostgres, told: str, where: str
) -> None:
    url = make_url(server.url()).set(username="app", database="my-jobs").render_as_string(False)
    assert refusal_at(url) == ""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"{told} SET synchronous_commit = off")  # type: ignore[arg-type]
        connection.execute("SELECT pg_reload_conf()")
        said = eventually(lambda: refusal_at(url))
        assert f"synchronous_commit is off {where}" in said
        cure = said.partition("; ")[2].removesuffix(" then start again")
        for statement in filter(None, cure.split(";")):
            connection.execute(statement)  # type: ignore[arg-type]
        eventually(lambda: not refusal_at(url))
        connection.execute(f"{told} RESET synchronous_commit")  # type: ignore[arg-type]


def test_a_supervisor_does_not_start_where_a_commit_that_returned_may_be_lost(server: PrivatePostgres, tmp_path: Path) -> None:
    upgrade(open_engine(server.url()))
    url = server.url()
    scene = Scene(tmp_path, f"{url}{'&' if '?' in url else '?'}options=-csynchronous_commit%3Doff", workers=1)
    process = scene.launch()
    try:
        eventually(lambda: process.poll() is not None or scene.status.get("state") == "running", within=60)
        assert process.poll() is not None, "a supervisor works where a commit that returned may be lost"
        assert process.returncode == 78
        assert "synchronous_commit is off by the options of the connection" in scene.log.read_text()
    finally:
        scene.close()
