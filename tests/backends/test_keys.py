"""Keys: where they come from, who makes the first one, and what a wrong one does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from backends import KeyProblem, add_key, new_key
from backends.keys import Keyring, Ring, keyring_of
from tests.backends.scene import foreign_engine, in_processes

ROW = ("job", 1, "access_token")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOBQUEUE_ENCRYPTION_KEYS", raising=False)
    monkeypatch.delenv("JOBQUEUE_KEY_FILE", raising=False)


def key_file(path: Path, *keys: str) -> Path:
    path.write_text("# ours\n\n" + "\n".join(keys) + "\n")
    path.chmod(0o600)
    return path


def test_looking_makes_no_key_and_the_first_need_does(tmp_path: Path) -> None:
    database = tmp_path / "queue.db"
    database.touch()
    keyring, file = Keyring(database=database), tmp_path / "queue.db.key"
    assert keyring.look() is None
    with pytest.raises(KeyProblem, match=f"lies under key lost, which {file} does not hold"):
        keyring.open("lost", "AAAA", ROW)
    assert not file.exists()
    assert keyring.ring() is keyring.look()
    assert file.exists()


def test_what_is_sealed_opens_for_its_own_row_only(tmp_path: Path) -> None:
    ring = Keyring(key_file(tmp_path / "keys", new_key()))
    key_id, sealed = ring.seal("ya29.très \ud800", ROW)
    assert ring.open(key_id, sealed, ROW) == "ya29.très \ud800"
    assert "ya29" not in sealed
    for other in (("job", 2, "access_token"), ("user", 1, "access_token"), ("job", 1, "password"), ("job", "1, x", "y")):
        with pytest.raises(KeyProblem, match=f"key {key_id} does not open it"):
            ring.open(key_id, sealed, other)
    for broken in (sealed[:-3] + "abc", sealed[:8], "", "*"):
        with pytest.raises(KeyProblem, match="was changed or comes from another row"):
            ring.open(key_id, broken, ROW)


def test_the_newest_key_encrypts_and_all_decrypt(tmp_path: Path) -> None:
    old, new = new_key(), new_key()
    file = key_file(tmp_path / "keys", old)
    ring = Keyring(file)
    before = ring.seal("first", ROW)
    key_file(file, new, old)
    after = ring.seal("second", ROW)
    assert after[0] == Ring([new], "").newest.id != before[0]
    assert [ring.open(*each, ROW) for each in (before, after)] == ["first", "second"]
    key_file(file, new)
    with pytest.raises(KeyProblem, match=f"lies under key {before[0]}, which {file} does not hold"):
        ring.open(*before, ROW)


def test_a_key_added_by_somebody_else_is_found_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    first = add_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    here, there = Keyring(file), Keyring(file)
    assert here.seal("x", ROW)[0] == first
    second = add_key(file)
    sealed = there.seal("x", ROW)
    assert sealed[0] == second
    assert here.open(*sealed, ROW) == "x"
    assert os.listdir(tmp_path) == ["keys"]


def test_the_environment_wins_over_a_file_and_a_given_file_over_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def id_of(*files: Path | None) -> str:
        return Keyring(*files).ring().newest.id

    keys = {name: new_key() for name in ("environment", "older", "given", "named")}
    ids = {name: Ring([key], "").newest.id for name, key in keys.items()}
    given, named = key_file(tmp_path / "given", keys["given"]), key_file(tmp_path / "named", keys["named"])
    database = tmp_path / "queue.db"
    database.touch()
    made = id_of(None, database)
    assert (tmp_path / "queue.db.key").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("JOBQUEUE_KEY_FILE", str(named))
    assert id_of(None, database) == ids["named"] != made
    assert id_of(given, database) == ids["given"]
    monkeypatch.setenv("JOBQUEUE_ENCRYPTION_KEYS", f"{keys['environment']}, {keys['older']}")
    assert id_of(given, database) == ids["environment"]


def test_a_key_file_that_others_can_read_is_refused_with_the_command_to_run(tmp_path: Path) -> None:
    file = key_file(tmp_path / "keys", new_key())
    file.chmod(0o640)
    with pytest.raises(KeyProblem, match=f"run: chmod 600 {file}$"):
        Keyring(file).ring()


@pytest.mark.parametrize("text", ["", "# nothing\n", "c2hvcnQ\n", "{}\n", "é" * 43])
def test_a_file_without_a_proper_key_is_refused_without_showing_what_it_holds(tmp_path: Path, text: str) -> None:
    file = key_file(tmp_path / "keys")
    file.write_text(text)
    with pytest.raises(KeyProblem, match="supervisor secrets new-key") as caught:
        Keyring(file).ring()
    assert str(file) in str(caught.value)
    assert not text.strip("# \n") or text.strip("# \n") not in str(caught.value).replace("nothing", "")


def test_a_file_that_was_named_is_never_made(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match=r"missing cannot be read: No such file.*supervisor secrets new-key"):
        Keyring(tmp_path / "missing", tmp_path / "queue.db").ring()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_on_postgres_a_key_must_be_given(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyProblem, match=r"there is no key .*supervisor secrets new-key"):
        keyring_of(engine).ring()
    monkeypatch.setenv("JOBQUEUE_ENCRYPTION_KEYS", new_key())
    with engine.connect() as connection:
        assert keyring_of(connection).ring().newest


def test_an_engine_of_the_callers_own_has_the_environments_keys(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = foreign_engine(database_url)
    with pytest.raises(KeyProblem, match="there is no key"):
        keyring_of(theirs).ring()
    monkeypatch.setenv("JOBQUEUE_ENCRYPTION_KEYS", new_key())
    assert keyring_of(theirs.execution_options(isolation_level="AUTOCOMMIT")).ring() is keyring_of(theirs).ring()
    assert keyring_of(theirs) is not keyring_of(create_engine("sqlite://"))
    theirs.dispose()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_eight_processes_at_once_agree_on_one_key(engine: Engine, tmp_path: Path) -> None:
    def first_need(number: int) -> list[str]:
        return list(Keyring(None, tmp_path / "queue.db").seal(f"secret {number}", ROW))

    sealed = in_processes(engine, first_need, range(8))
    ring = Keyring(None, tmp_path / "queue.db")
    assert [ring.open(*each, ROW) for each in sealed] == [f"secret {number}" for number in range(8)]
    assert [each for each in os.listdir(tmp_path) if ".key" in each] == ["queue.db.key"]
