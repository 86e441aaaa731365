"""Users, tokens and memberships in the database."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select, update

from apps.access.memberships import grant, members, revoke, role_of
from apps.access.tokens import SHOWN, create_token, find_tokens, identify, list_tokens, note_use, revoke_token
from apps.access.users import BadUser, add_user, disable_user, enable_user, find_subject, find_user
from backends import Role, api_tokens, later


def test_a_token_is_valid_until_it_expires_by_the_databases_clock(engine: Engine) -> None:
    with engine.begin() as connection:
        anna = add_user(connection, "anna", is_admin=True)
        token = create_token(connection, anna, "test", 3600)
        found = identify(connection, token.secret)
        assert found is not None
        assert (found.token_id, found.user_id, found.name, found.is_admin) == (token.id, anna, "anna", True)
        connection.execute(update(api_tokens).values(expires_at=later(-0.001)))
        assert identify(connection, token.secret) is None, "a token is taken after its end"
        assert [each.state for each in list_tokens(connection)] == ["expired"]


def test_a_token_without_an_end_is_valid_until_it_is_revoked(engine: Engine) -> None:
    with engine.begin() as connection:
        token = create_token(connection, add_user(connection, "anna"), "test", None)
        assert identify(connection, token.secret) is not None
        assert revoke_token(connection, token.id)
        assert not revoke_token(connection, token.id)
        assert identify(connection, token.secret) is None


def test_nothing_that_is_shown_or_stored_is_a_token(engine: Engine) -> None:
    with engine.begin() as connection:
        token = create_token(connection, add_user(connection, "anna"), "test", 60)
        [row] = connection.execute(select(api_tokens))
        assert token.secret not in f"{token} {row} {list_tokens(connection)}"
        for shown in (row.hash, row.prefix, token.secret[:SHOWN], token.secret[:-1], token.secret + "A", ""):
            assert identify(connection, shown) is None


def test_the_use_of_a_token_is_due_once_a_minute(engine: Engine) -> None:
    with engine.begin() as connection:
        token = create_token(connection, add_user(connection, "anna"), "test", 60)

        def due() -> bool:
            found = identify(connection, token.secret)
            assert found is not None
            return found.unnoted

        assert due()
        note_use(connection, [token.id])
        assert not due()
        connection.execute(update(api_tokens).values(last_used_at=later(-61)))
        assert due()


def test_a_name_or_a_subject_is_given_once(engine: Engine) -> None:
    with engine.begin() as connection:
        add_user(connection, "anna", "anna@id")
        for name, subject in (("anna", None), ("bob", "anna@id")):
            with pytest.raises(BadUser, match="already"):
                add_user(connection, name, subject)
        assert find_user(connection, "bob") is None


@pytest.mark.parametrize("name", ["", " anna", "anna\n", "a\0b", "\ud800", "x" * 201, "a\x1b[2Jb"])
def test_names_that_nobody_could_type_or_read_are_refused(engine: Engine, name: str) -> None:
    with engine.begin() as connection:
        with pytest.raises(BadUser, match="printable"):
            add_user(connection, name)
        with pytest.raises(BadUser, match="printable"):
            add_user(connection, "anna", name)


def test_a_disabled_user_is_nobody(engine: Engine) -> None:
    with engine.begin() as connection:
        anna = add_user(connection, "anna", "anna@id")
        token = create_token(connection, anna, "test", 60)
        grant(connection, anna, 7, Role.ADMIN)
        disable_user(connection, anna)
        assert find_subject(connection, "anna@id") is None
        assert identify(connection, token.secret) is None
        assert role_of(connection, anna, 7) is None
        since = find_user(connection, "anna")
        disable_user(connection, anna)
        assert find_user(connection, "anna") == since
        enable_user(connection, anna)
        assert identify(connection, token.secret) is not None
        assert role_of(connection, anna, 7) is Role.ADMIN


def test_a_user_has_one_role_in_a_program(engine: Engine) -> None:
    with engine.begin() as connection:
        anna, bob = add_user(connection, "anna"), add_user(connection, "bob")
        grant(connection, bob, 7, Role.VIEWER)
        grant(connection, anna, 7, Role.VIEWER)
        grant(connection, anna, 7, Role.OPERATOR)
        grant(connection, anna, 8, "admin")
        assert [(each.user, each.role) for each in members(connection, 7)] == [("anna", "operator"), ("bob", "viewer")]
        assert [(each.program_id, each.role) for each in members(connection, user_id=anna)] == [(7, "operator"), (8, "admin")]
        assert revoke(connection, anna, 7)
        assert not revoke(connection, anna, 7)
        assert role_of(connection, anna, 7) is None
        with pytest.raises(ValueError, match="owner"):
            grant(connection, anna, 7, "owner")


def test_a_token_is_named_by_plain_digits_only(engine: Engine) -> None:
    with engine.begin() as connection:
        made = create_token(connection, add_user(connection, "anna"), "laptop", None)
        assert [found.id for found in find_tokens(connection, str(made.id))] == [made.id]
        assert find_tokens(connection, chr(ord("\N{ARABIC-INDIC DIGIT ZERO}") + made.id)) == []
