"""`db`, and what every command says about a database that is not as it should be."""

from __future__ import annotations

import socket

import pytest
from sqlalchemy import Engine, text

from backends import (
    BadDatabaseUrl,
    InheritedConnection,
    LaneDisagreement,
    SchemaMismatch,
    UnsafeCommits,
    UnsafeFilesystem,
)
from supervisor.commands.errors import worded
from supervisor.commands.problems import Problem
from tests.cli.conftest import CONFIGURATION, Place

COMMANDS = [
    ("jobs", "list"),
    ("jobs", "show", 1),
    ("jobs", "enqueue", "count", "--program", 1),
    ("db", "check"),
    ("status",),
]


def test_upgrade_says_what_it_did_and_is_harmless_again(place: Place, empty_database_url: str) -> None:
    place.write(CONFIGURATION.format(database_url=empty_database_url))
    head = place("db", "current", "--json").json["head"]
    assert place("db", "upgrade").rows == [["schema", head, "upgraded from nothing"]]
    assert place("db", "upgrade").rows == [["schema", head, "unchanged"]]


def test_current_and_check_agree_after_an_upgrade(supervisor: Place) -> None:
    found = supervisor("db", "current", "--json").json
    assert found["current"] == found["head"]
    assert supervisor("db", "check").rows[0][0] == "ok"
    assert supervisor("db", "check", "--json").json["schema"] == found["head"]


def test_an_empty_database_is_named_with_the_command_that_fills_it(place: Place, empty_database_url: str) -> None:
    place.write(CONFIGURATION.format(database_url=empty_database_url))
    ran = place("jobs", "list", code=78)
    assert "error[DB-SCHEMA]" in ran.err
    assert "supervisor db upgrade" in ran.err
    assert place("db", "current").rows[0] == ["current", "none"]


def test_a_dry_run_prints_the_statements_and_changes_nothing(place: Place, empty_database_url: str) -> None:
    place.write(CONFIGURATION.format(database_url=empty_database_url))
    assert "CREATE TABLE indexing_jobs" in place("db", "upgrade", "--dry-run").out
    assert place("db", "current").rows[0] == ["current", "none"]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unreachable_database_is_said_by_every_command(command: tuple[object, ...], place: Place) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place.write(
            CONFIGURATION.format(database_url=f"postgresql://app:hunter2@127.0.0.1:{unused.getsockname()[1]}/jobs")
        )
        ran = place(*command, code=69)
    assert "error[DB-UNREACHABLE] cannot use postgresql" in ran.err
    assert "app:***@127.0.0.1" in ran.err
    assert "supervisor db check" in ran.err
    assert "hunter2" not in ran.err + ran.out


@pytest.mark.parametrize("url", ["mysql://app:hunter2@db/jobs", "sqlite:///:memory:"])
@pytest.mark.parametrize("command", [("db", "check"), ("start",)])
def test_a_url_that_cannot_be_used_is_said_in_clear_words(url: str, command: tuple[str, ...], place: Place) -> None:
    place.write(f"database_url: {url}\nextensions: []\n")
    ran = place(*command, code=78)
    assert "error[DB-URL]" in ran.err or "error[CFG-" in ran.err
    assert "sqlite:///" in ran.err
    assert "hunter2" not in ran.err


def test_each_thing_that_makes_a_database_unusable_has_its_id_and_its_remedy() -> None:
    for error, name in (
        (UnsafeFilesystem("a.db lies on nfs; use a local disk"), "SQLITE-FILESYSTEM"),
        (BadDatabaseUrl("no options; set them elsewhere"), "DB-URL"),
        (InheritedConnection("used after a fork; open it in the child"), "INHERITED-CONNECTION"),
        (LaneDisagreement("job type a: two lanes; make the files agree"), "LANE-DISAGREEMENT"),
        (UnsafeCommits("synchronous_commit is off for the role a; ALTER ROLE a"), "PG-SYNCHRONOUS-COMMIT"),
        (SchemaMismatch("schema is at 1. Back up"), "DB-SCHEMA"),
    ):
        problem = worded(error)
        assert isinstance(problem, Problem)
        assert (problem.name, problem.code) == (name, 78)
        assert problem.fix[0].isupper()


def test_a_database_file_that_may_not_be_read_is_said(place: Place) -> None:
    place.write(CONFIGURATION.format(database_url="sqlite:///jobs.db"))
    place("db", "upgrade")
    (place.folder / "jobs.db").chmod(0)
    ran = place.without_privilege("jobs", "list", code=69)
    assert ran.err.startswith("error[DB-UNREACHABLE]")
    assert "Traceback" not in ran.err


def test_a_recount_puts_the_numbers_of_status_right(supervisor: Place, engine: Engine) -> None:
    supervisor("jobs", "enqueue", "count", "--program", 1)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM indexing_jobs"))
    assert supervisor("status", "--json", code=None).json["queue"]["pending"] == 1
    assert supervisor("db", "recount").rows == [["recounted"]]
    assert supervisor("status", "--json", code=None).json["queue"]["pending"] == 0
