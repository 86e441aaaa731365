"""Secrets: kept encrypted, each bound to its row, deleted with its owner, encrypted anew when the key changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text, update

from backends import (
    KeyProblem,
    NewJob,
    Owner,
    Queue,
    Rotation,
    add_key,
    forget_secrets,
    forget_under_key,
    list_secrets,
    new_key,
    open_engine,
    read_secret,
    rotate_secrets,
    secret_names,
    store_secret,
)
from backends.tables import secrets


@pytest.fixture
def engine(database_url: str, tmp_path: Path) -> Iterator[Engine]:
    """An engine with a key file of its own."""
    add_key(tmp_path / "keys")
    engine = open_engine(database_url, key_file=tmp_path / "keys")
    yield engine
    engine.dispose()


def store(engine: Engine, *what: tuple[Owner, int, str, str]) -> None:
    with engine.begin() as connection:
        for each in what:
            store_secret(connection, *each)


def read(engine: Engine, owner: Owner, owner_id: int, name: str) -> str | None:
    with engine.connect() as connection:
        return read_secret(connection, owner, owner_id, name)


def test_a_secret_is_read_again_and_a_newer_one_takes_its_place(engine: Engine) -> None:
    store(engine, (Owner.USER, 1, "token", "one"), (Owner.USER, 1, "token", "two"), (Owner.PROGRAM, 1, "token", "three"))
    assert read(engine, Owner.USER, 1, "token") == "two"
    assert read(engine, Owner.PROGRAM, 1, "token") == "three"
    assert read(engine, Owner.USER, 2, "token") is None
    with engine.connect() as connection:
        assert "two" not in str(connection.execute(select(secrets)).all())
        assert [(each.owner, each.owner_id, each.name) for each in list_secrets(connection, None, None)] == [
            (Owner.USER, 1, "token"), (Owner.PROGRAM, 1, "token"),
        ]


def test_what_is_forgotten_is_gone(engine: Engine) -> None:
    store(engine, *((Owner.USER, 1, name, "x") for name in ("b", "a", "c")), (Owner.USER, 2, "a", "x"))
    with engine.begin() as connection:
        assert secret_names(connection, Owner.USER, 1) == ["a", "b", "c"]
        assert forget_secrets(connection, Owner.USER, 1, "b") == 1
        assert forget_secrets(connection, Owner.USER, 1) == 2
        assert secret_names(connection, Owner.USER, 1) == []
        assert secret_names(connection, Owner.USER, 2) == ["a"]


def test_a_name_of_any_length_is_kept(engine: Engine) -> None:
    name = "nested." * 2000 + "token"
    store(engine, (Owner.JOB, 1, name, "deep"))
    assert read(engine, Owner.JOB, 1, name) == "deep"


def test_secrets_swapped_between_rows_do_not_open(engine: Engine) -> None:
    store(engine, (Owner.USER, 1, "token", "mine"), (Owner.USER, 2, "token", "yours"))
    with engine.begin() as connection:
        sealed = connection.execute(select(secrets.c.sealed).order_by(secrets.c.owner_id)).scalars().all()
        for owner_id, other in zip((1, 2), reversed(sealed), strict=True):
            connection.execute(update(secrets).where(secrets.c.owner_id == owner_id).values(sealed=other))
    for owner_id in (1, 2):
        refusal = f"user {owner_id} token was changed or comes from another row"
        assert refusal in refusal_to_read(engine, Owner.USER, owner_id, "token"), "a secret was opened in the place of another"


def refusal_to_read(engine: Engine, owner: Owner, owner_id: int, name: str) -> str:
    """Why a secret is not opened; empty when it is."""
    try:
        read(engine, owner, owner_id, name)
    except KeyProblem as problem:
        return str(problem)
    return ""


def test_with_a_wrong_key_nothing_is_read(engine: Engine, database_url: str, tmp_path: Path) -> None:
    store(engine, (Owner.USER, 1, "token", "mine"))
    add_key(tmp_path / "others")
    stranger = open_engine(database_url, key_file=tmp_path / "others")
    with pytest.raises(KeyProblem, match="does not hold; add that key"):
        read(stranger, Owner.USER, 1, "token")
    rotation = rotate_secrets(stranger)
    assert (rotation.done, rotation.left, len(rotation.broken)) == (0, 0, 1)
    assert "does not hold; add that key" in str(rotation.broken)
    assert read(engine, Owner.USER, 1, "token") == "mine"
    stranger.dispose()


def test_everything_is_encrypted_anew_in_batches_and_only_once(engine: Engine, tmp_path: Path) -> None:
    store(engine, *((Owner.USER, number, "token", f"secret {number}") for number in range(25)))
    assert rotate_secrets(engine) == Rotation(0, 0, {})
    newest = add_key(tmp_path / "keys")
    assert rotate_secrets(engine, batch=10).done == 25
    assert rotate_secrets(engine, batch=10).done == 0
    (tmp_path / "keys").write_text((tmp_path / "keys").read_text().splitlines()[0])
    assert [read(engine, Owner.USER, number, "token") for number in range(25)] == [f"secret {number}" for number in range(25)]
    with engine.connect() as connection:
        assert {each.key_id for each in list_secrets(connection, None, None)} == {newest}


def test_one_broken_secret_keeps_no_other_from_a_new_key(engine: Engine, tmp_path: Path) -> None:
    store(engine, *((Owner.USER, number, "token", "x") for number in range(3)))
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobqueue_secrets SET sealed = 'nothing' WHERE owner_id = 1"))
    add_key(tmp_path / "keys")
    rotation = rotate_secrets(engine, batch=1)
    assert (rotation.done, rotation.left) == (2, 0)
    [why] = rotation.broken.values()
    assert "user 1 token" in why


def test_a_secret_stays_with_a_transaction_that_is_undone(engine: Engine) -> None:
    with engine.connect() as connection:
        store_secret(connection, Owner.USER, 1, "token", new_key())
        connection.rollback()
    assert read(engine, Owner.USER, 1, "token") is None


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_rotation_comes_back_to_what_others_held_and_tells_what_they_hold_still(engine: Engine, tmp_path: Path) -> None:
    store(engine, *((Owner.USER, number, "token", "x") for number in range(3)))
    add_key(tmp_path / "keys")
    with engine.connect() as holder:
        holder.execute(select(secrets).where(secrets.c.owner_id == 1).with_for_update())
        assert rotate_secrets(engine, patience=0.0) == Rotation(2, 1, {})
        threading.Timer(0.3, holder.rollback).start()
        assert rotate_secrets(engine, patience=30.0) == Rotation(1, 0, {})


def test_what_lies_under_a_lost_key_is_forgotten_and_its_jobs_know(engine: Engine, tmp_path: Path) -> None:
    queue = Queue(engine)
    lost_one, partly = queue.enqueue([NewJob("other", 1, parameters={"token": f"s{n}"}) for n in range(2)])
    store(engine, (Owner.USER, 1, "token", "mine"))
    with engine.connect() as connection:
        lost = list_secrets(connection, None, None)[0].key_id
    add_key(tmp_path / "keys")
    store(engine, (Owner.JOB, partly, "other_token", "newer"))
    with engine.begin() as connection:
        assert forget_under_key(connection, lost) == 3
        assert forget_under_key(connection, lost) == 0
        assert [(each.owner_id, each.name) for each in list_secrets(connection, None, None)] == [(partly, "other_token")]
    assert [queue.get(each).holds_secrets for each in (lost_one, partly)] == [False, True]  # type: ignore[union-attr]
