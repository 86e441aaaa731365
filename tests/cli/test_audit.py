"""`audit`: every change that a person at the command line makes, and no other."""

from __future__ import annotations

import os
import pwd
import socket
from typing import Any

from tests.cli.conftest import Place, on_sqlite

PERSON = f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"


def entries(place: Place, *options: object) -> list[dict[str, Any]]:
    """The audit, oldest first."""
    return list(reversed(place("audit", "--json", *options).json))


def test_every_change_says_who_what_when_and_why(supervisor: Place) -> None:
    why = ("--reason", "as asked by Kim")
    supervisor("programs", "add", "Docs", "--folder", ".", "--id", 7, *why)
    supervisor("users", "add", "anna", "--admin", *why)
    supervisor("programs", "grant", 7, "anna", "operator", *why)
    supervisor("programs", "revoke", 7, "anna", *why)
    token = supervisor("tokens", "create", "anna", "--json", *why).json
    supervisor("tokens", "revoke", token["prefix"], *why)
    supervisor("users", "disable", "anna", *why)
    supervisor("users", "enable", "anna", *why)
    job = supervisor("jobs", "enqueue", "count", "--program", 7, "--json", *why).json["id"]
    supervisor("jobs", "cancel", job, *why)
    supervisor("jobs", "retry", job, *why)
    written = entries(supervisor)
    assert [(each["action"], each["program_id"], each["job_id"]) for each in written] == [
        ("program.add", 7, None),
        ("user.add", None, None),
        ("member.grant", 7, None),
        ("member.revoke", 7, None),
        ("token.create", None, None),
        ("token.revoke", None, None),
        ("user.disable", None, None),
        ("user.enable", None, None),
        ("job.create", 7, job),
        ("job.cancel", 7, job),
        ("job.retry", 7, job),
    ]
    assert {(each["actor"], each["via"], each["reason"]) for each in written} == {(PERSON, "cli", "as asked by Kim")}
    assert written[2]["detail"] == {"user": "anna", "user_id": 1, "role": "operator"}
    assert token["token"] not in str(written)


def test_what_changes_nothing_is_not_written_down(supervisor: Place) -> None:
    supervisor("users", "add", "anna")
    job = supervisor("jobs", "enqueue", "count", "--program", 7, "--key", "nightly", "--json").json["id"]
    before = entries(supervisor)
    assert supervisor("jobs", "enqueue", "count", "--program", 7, "--key", "nightly", "--json").json["id"] == job
    supervisor("jobs", "retry", job, code=5)
    supervisor("jobs", "cancel", 4711, code=4)
    supervisor("users", "add", "anna", code=5)
    supervisor("users", "enable", "anna")
    supervisor("programs", "revoke", 7, "anna", code=4)
    supervisor("tokens", "revoke", "4711", code=4)
    supervisor("programs", "add", "Docs", code=5)
    assert entries(supervisor) == before


@on_sqlite
def test_the_newest_comes_first_in_pages_and_of_one_program(supervisor: Place) -> None:
    for program in (1, 2, 1):
        supervisor("jobs", "enqueue", "count", "--program", program)
    ran = supervisor("audit", "--limit", 2)
    assert [row[5] for row in ran.rows] == ["1", "2"]
    assert ran.err == f"There may be more: --before {ran.rows[-1][0]}\n"
    assert len(supervisor("audit", "--before", ran.rows[-1][0]).rows) == 1
    assert [row[6] for row in supervisor("audit", "--program", 1).rows] == ["3", "1"]
