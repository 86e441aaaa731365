"""`users`, `tokens`, `programs grant`, `revoke` and `members`, on both databases."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from apps.access.tokens import identify
from backends import api_tokens, open_engine
from tests.cli.conftest import CONFIGURATION, Place, on_sqlite
from tests.markdown import blocks
from tests.support import REPOSITORY


def whose(place: Place, secret: str) -> str | None:
    """Whose valid token this is."""
    engine = open_engine(place.database_url)
    with engine.connect() as connection:
        found = identify(connection, secret)
    engine.dispose()
    return found and found.name


def stored(place: Place) -> str:
    """Everything that is stored of tokens, and of what was done about them, as text."""
    engine = open_engine(place.database_url)
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(select(api_tokens))]
    engine.dispose()
    return f"{rows} {place('audit', '--json').out}"


def test_users_are_added_listed_disabled_and_enabled(supervisor: Place) -> None:
    assert supervisor("users", "list").err == "No users yet. supervisor users add --help\n"
    number = int(supervisor("users", "add", "anna", "--subject", "anna@id").rows[0][0])
    assert supervisor("users", "add", "root", "--admin", "--json").json["name"] == "root"
    anna, root = supervisor("users", "list", "--json").json
    assert (anna["id"], anna["name"], anna["subject"], anna["is_admin"]) == (number, "anna", "anna@id", False)
    assert root["is_admin"] is True
    assert supervisor("users", "disable", "anna").rows == [["anna", "is disabled"]]
    assert supervisor("users", "list").rows[0][4] != "-"
    assert supervisor("users", "enable", "anna").rows == [["anna", "is enabled"]]
    assert supervisor("users", "list").rows[0][4] == "-"


@on_sqlite
def test_a_name_and_a_subject_belong_to_one_user(supervisor: Place) -> None:
    supervisor("users", "add", "anna", "--subject", "anna@id")
    assert "error[USER] there is a user of the name 'anna' already" in supervisor("users", "add", "anna", code=5).err
    assert "subject 'anna@id'" in supervisor("users", "add", "bob", "--subject", "anna@id", code=5).err
    assert "error[USER] a user's name is printable text" in supervisor("users", "add", "a\nb", code=5).err


@pytest.mark.parametrize("command", [
    ("users", "disable", "ana"), ("users", "enable", "ana"), ("tokens", "create", "ana"), ("tokens", "list", "--user", "ana"),
    ("programs", "grant", 1, "ana", "viewer"), ("programs", "revoke", 1, "ana"),
])  # fmt: skip
@on_sqlite
def test_a_mistyped_name_is_answered_with_the_one_that_was_meant(supervisor: Place, command: tuple[Any, ...]) -> None:
    supervisor("users", "add", "anna")
    assert supervisor(*command, code=4).err.startswith("error[USER-NOT-FOUND] there is no user 'ana', did you mean 'anna'?")


def test_a_token_is_printed_once_and_kept_as_a_hash(supervisor: Place) -> None:
    supervisor("users", "add", "anna")
    ran = supervisor("tokens", "create", "anna", "--name", "laptop")
    secret = ran.out.removesuffix("\n")
    assert len(secret) == 46
    assert secret.startswith("jq_")
    assert "shown once" in ran.err
    assert secret not in ran.err
    assert whose(supervisor, secret) == "anna"
    [token] = supervisor("tokens", "list", "--json").json
    assert (token["prefix"], token["name"], token["user"], token["state"]) == (secret[:11], "laptop", "anna", "valid")
    lifetime = datetime.fromisoformat(token["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89.9) < lifetime < timedelta(days=90.1)
    assert secret not in stored(supervisor)
    assert secret not in supervisor("tokens", "list").out


@on_sqlite
def test_how_long_a_token_lives_can_be_said(supervisor: Place) -> None:
    supervisor("users", "add", "anna")
    assert supervisor("tokens", "create", "anna", "--expires", "never", "--json").json["expires_at"] is None
    assert supervisor("tokens", "create", "anna", "--expires", "36h", "--json").json["expires_at"] is not None
    assert "error[TOKEN]" in supervisor("tokens", "create", "anna", "--expires", "4000d", code=5).err
    assert "error[TOKEN]" in supervisor("tokens", "create", "anna", "--expires", "0", code=5).err
    assert "error[BAD-DURATION]" in supervisor("tokens", "create", "anna", "--expires", "soon", code=2).err
    assert len(supervisor("tokens", "list").rows) == 2


def test_a_token_is_revoked_by_its_beginning_or_its_id(supervisor: Place) -> None:
    supervisor("users", "add", "anna")
    first, second = (supervisor("tokens", "create", "anna", "--json").json for _ in range(2))
    supervisor("tokens", "revoke", first["prefix"])
    supervisor("tokens", "revoke", second["id"])
    supervisor("tokens", "revoke", second["id"])
    assert [token["state"] for token in supervisor("tokens", "list", "--json").json] == ["revoked"] * 2
    assert whose(supervisor, first["token"]) is None
    assert "error[TOKEN-NOT-FOUND]" in supervisor("tokens", "revoke", "jq_AAAAAAAA", code=4).err
    assert "error[TOKEN-NOT-FOUND]" in supervisor("tokens", "revoke", "99999999999999999999", code=4).err
    revocations = [entry for entry in supervisor("audit", "--json").json if entry["action"] == "token.revoke"]
    assert len(revocations) == 2


@on_sqlite
def test_beginnings_that_are_alike_are_told_apart_by_id(supervisor: Place) -> None:
    supervisor("users", "add", "anna")
    prefix, _ = (supervisor("tokens", "create", "anna", "--json").json["prefix"] for _ in range(2))
    engine = open_engine(supervisor.database_url)
    with engine.begin() as connection:
        connection.execute(api_tokens.update().values(prefix=prefix))
    engine.dispose()
    assert "Name one by its id: 1, 2" in supervisor("tokens", "revoke", prefix, code=5).err


@on_sqlite
def test_a_disabled_user_gets_no_token_and_those_there_are_count_no_more(supervisor: Place) -> None:
    supervisor("users", "add", "anna")
    secret = supervisor("tokens", "create", "anna").out.strip()
    supervisor("users", "disable", "anna")
    assert whose(supervisor, secret) is None
    assert [token["state"] for token in supervisor("tokens", "list", "--json").json] == ["disabled"]
    assert "supervisor users enable anna" in supervisor("tokens", "create", "anna", code=5).err
    supervisor("users", "enable", "anna")
    assert whose(supervisor, secret) == "anna"


def test_members_are_granted_a_role_changed_and_taken_out(supervisor: Place) -> None:
    for name in ("anna", "bob"):
        supervisor("users", "add", name)
    assert "no program 7 was added here" in supervisor("programs", "grant", 7, "bob", "viewer").err
    supervisor("programs", "grant", 7, "anna", "viewer")
    supervisor("programs", "grant", 7, "anna", "admin")
    assert supervisor("programs", "members", 7).rows == [["anna", "admin"], ["bob", "viewer"]]
    assert [each["role"] for each in supervisor("programs", "members", 7, "--json").json] == ["admin", "viewer"]
    supervisor("programs", "revoke", 7, "anna")
    assert "error[MEMBER-NOT-FOUND]" in supervisor("programs", "revoke", 7, "anna", code=4).err
    assert supervisor("programs", "members", 8).err.startswith("Program 8 has no members.")
    assert "'ROLE'" in supervisor("programs", "grant", 7, "bob", "owner", code=2).err


@on_sqlite
def test_a_program_that_was_added_here_is_granted_without_a_note(supervisor: Place) -> None:
    supervisor("users", "add", "anna")
    supervisor("programs", "add", "Docs", "--folder", ".", "--id", 7)
    assert supervisor("programs", "grant", 7, "anna", "viewer").err == ""


@on_sqlite
def test_the_commands_of_the_page_on_access_work_in_their_order(supervisor: Place) -> None:
    [session, *_] = blocks(REPOSITORY / "docs" / "access.md", "sh")
    ran = [supervisor(*shlex.split(line, comments=True)[1:]) for line in session.splitlines()]
    assert whose(supervisor, ran[2].out.strip()) == "anna"
    assert [row[4] for row in ran[3].rows] == ["token.create", "member.grant", "user.add"]


@on_sqlite
def test_an_installation_without_users_says_which_extension_has_them(supervisor: Place) -> None:
    supervisor.write(CONFIGURATION.format(database_url=supervisor.database_url) + "extensions: []\n")
    assert "error[EXTENSION] no extension has users" in supervisor("users", "list", code=78).err
