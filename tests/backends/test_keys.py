"""Keys: where they come from, who makes the first one, and what a wrong one does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from backends import (
    KeyProblem,
    NewJob,
    Owner,
    Queue,
    Rotation,
    add_key,
    check_keys,
    forget_under_key,
    keys_in_want,
    list_secrets,
    new_key,
    open_engine,
    read_secret,
    rotate_secrets,
    store_secret,
)
from backends.keys import Keyring, Ring, keyring_of
from tests.backends.scene import foreign_engine, in_processes, insert_raw, row

ROW = ("job", 1, "access_token")
WITH_TOKEN = NewJob("quick", 1, parameters={"access_token": "ya29.x"})


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOBQUEUE_ENCRYPTION_KEYS", raising=False)
    monkeypatch.delenv("JOBQUEUE_KEY_FILE", raising=False)


def store(engine: Engine, owner: Owner, owner_id: int) -> None:
    with engine.begin() as connection:
        store_secret(connection, owner, owner_id, "access_token", "ya29.x")


def key_file(path: Path, *keys: str) -> Path:
    path.write_text("# ours\n\n" + "\n".join(keys) + "\n")
    path.chmod(0o600)
    return path


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
    Keyring(None, database).make()
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


def test_a_folder_or_a_pipe_in_place_of_a_key_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for file in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(KeyProblem, match=f"{file} is not a file but a folder or device; name a file"):
            Keyring(file).ring()


def test_a_link_to_a_key_file_stays_one_when_a_key_is_added(tmp_path: Path) -> None:
    real, link = key_file(tmp_path / "real", new_key()), tmp_path / "link"
    link.symlink_to(real)
    added = add_key(link)
    assert link.is_symlink()
    assert [Keyring(each).ring().newest.id for each in (link, real)] == [added, added]


def test_keys_in_the_environment_that_do_not_open_a_secret_are_told_apart_from_the_file_that_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = key_file(tmp_path / "keys", new_key())
    sealed = Keyring(file).seal("x", ROW)
    monkeypatch.setenv("JOBQUEUE_ENCRYPTION_KEYS", new_key())
    with pytest.raises(KeyProblem, match=rf"JOBQUEUE_ENCRYPTION_KEYS \(which goes before {file}\) does not hold; add that key"):
        Keyring(file).open(*sealed, ROW)


@pytest.mark.parametrize("text", ["", "# nothing\n", "c2hvcnQ\n", "{}\n", "é" * 43])
def test_a_file_without_a_proper_key_is_refused_without_showing_what_it_holds(tmp_path: Path, text: str) -> None:
    file = key_file(tmp_path / "keys")
    file.write_text(text)
    with pytest.raises(KeyProblem, match="supervisor secrets new-key") as caught:
        Keyring(file).ring()
    assert str(file) in str(caught.value)
    assert not text.strip("# \n") or text.strip("# \n") not in str(caught.value).replace("nothing", "")


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_lost_key_file_is_not_replaced_while_there_are_secrets(engine: Engine, tmp_path: Path) -> None:
    queue, file = Queue(engine), tmp_path / "queue.db.key"
    kept = queue.enqueue([WITH_TOKEN])[0]
    [lost] = {each.key_id for each in queue.read(lambda connection: list_secrets(connection, None, None))}
    file.rename(tmp_path / "lost")
    waits = insert_raw(engine, job_parameters='{"access_token": "x"}')
    queue.admit()
    attempts = [
        lambda: queue.enqueue([WITH_TOKEN]),
        lambda: store(engine, Owner.USER, 1),
        lambda: queue.read(check_keys),
        lambda: queue.read(lambda connection: read_secret(connection, Owner.JOB, kept, "access_token")),
        lambda: rotate_secrets(engine),
    ]
    for attempt in attempts:
        with pytest.raises(KeyProblem, match=rf"{file}.*; restore it from your backup"):
            attempt()
    assert row(queue, waits).waits_for == "key"
    assert "forget --key " + lost in str(queue.why(waits))
    assert not file.exists()

    (tmp_path / "lost").rename(file)
    assert queue.read(lambda connection: read_secret(connection, Owner.JOB, kept, "access_token")) == "ya29.x"

    file.unlink()
    with engine.begin() as connection:
        forget_under_key(connection, lost)
    queue.admit()
    assert row(queue, waits).waits_for == "handler"
    assert file.exists()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_looking_makes_no_key(engine: Engine, tmp_path: Path) -> None:
    queue = Queue(engine)
    insert_raw(engine, job_parameters='{"page": 1}')
    queue.admit()
    assert queue.why(1)
    queue.read(check_keys)
    assert queue.read(keys_in_want) is None
    assert rotate_secrets(engine) == Rotation(0, 0, {})
    with pytest.raises(KeyProblem):
        keyring_of(engine).ring()
    assert not (tmp_path / "queue.db.key").exists()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_eight_processes_that_enqueue_the_first_secrets_end_with_one_key(engine: Engine, database_url: str) -> None:
    def first_need(number: int) -> int:
        return Queue(open_engine(database_url)).enqueue([WITH_TOKEN])[0]

    ids = in_processes(engine, first_need, range(8))
    with engine.connect() as connection:
        assert [read_secret(connection, Owner.JOB, each, "access_token") for each in ids] == ["ya29.x"] * 8
        assert len({each.key_id for each in list_secrets(connection, None, None)}) == 1


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_process_without_keys_is_told_so_once_there_are_secrets(database_url: str, tmp_path: Path) -> None:
    add_key(tmp_path / "keys")
    keyless, keyed = open_engine(database_url), open_engine(database_url, key_file=tmp_path / "keys")
    Queue(keyless).read(check_keys)
    Queue(keyed).enqueue([WITH_TOKEN])
    with pytest.raises(KeyProblem, match=r"the configuration is not there|there are secrets under the keys"):
        Queue(keyless).read(check_keys)
    for each in (keyless, keyed):
        each.dispose()


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
        keyring = Keyring(None, tmp_path / "queue.db")
        keyring.make()
        return list(keyring.seal(f"secret {number}", ROW))

    sealed = in_processes(engine, first_need, range(8))
    ring = Keyring(None, tmp_path / "queue.db")
    assert [ring.open(*each, ROW) for each in sealed] == [f"secret {number}" for number in range(8)]
    assert [each for each in os.listdir(tmp_path) if ".key" in each] == ["queue.db.key"]
