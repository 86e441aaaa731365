"""`secrets`, and secrets of jobs that are enqueued at the command line; on both databases."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from backends import Owner, Queue, new_key, open_engine, read_secret
from tests.cli.conftest import CONFIGURATION, Place, on_sqlite

MARK = "the-mark-of-secrecy"


@pytest.fixture
def keyed(supervisor: Place) -> Place:
    """A place with a key file."""
    text = CONFIGURATION.format(database_url=supervisor.database_url) + "encryption: {key_file: keys}\n"
    supervisor.write(text)
    supervisor("secrets", "new-key", "--add")
    return supervisor


def stored(place: Place, owner: Owner, owner_id: int, name: str) -> str | None:
    engine = open_engine(place.database_url, key_file=place.folder / "keys")
    try:
        return Queue(engine).read(lambda connection: read_secret(connection, owner, owner_id, name))
    finally:
        engine.dispose()


def test_a_secret_is_stored_listed_and_forgotten(keyed: Place) -> None:
    ran = keyed("secrets", "set", "access_token", "--user", 7, "--from-env", "TOKEN", TOKEN=MARK)
    keyed("secrets", "set", "refresh_token", "--program", 1, "--from-env", "TOKEN", "--reason", "new client", TOKEN="other")
    assert stored(keyed, Owner.USER, 7, "access_token") == MARK
    assert [row[:3] for row in keyed("secrets", "list").rows] == [
        ["user", "7", "access_token"], ["program", "1", "refresh_token"],
    ]
    [shown] = keyed("secrets", "list", "--user", 7, "--json").json
    assert MARK not in str(shown) + ran.out + ran.err
    assert keyed("secrets", "forget", "--user", 7).rows == [["user 7", "1 forgotten"]]
    assert "error[SECRET-NOT-FOUND]" in keyed("secrets", "forget", "x", "--program", 1, code=4).err
    said = keyed("audit").out
    assert all(word in said for word in ("secret.set", "secret.forget", "new client"))
    assert MARK not in said


def test_a_job_gets_its_secrets_beside_its_parameters(keyed: Place) -> None:
    given = ("--secret-env", "access_token=TOKEN", "--secret-env", "odd=TOKEN", "--param", "total=1")
    job = keyed("jobs", "enqueue", "count", "--program", 1, *given, "--json", TOKEN=MARK).json
    assert (job["holds_secrets"], job["parameters"]) == (True, {"total": 1})
    assert [stored(keyed, Owner.JOB, job["id"], name) for name in ("access_token", "odd")] == [MARK, MARK]


@on_sqlite
def test_standard_input_is_read_to_its_end_without_the_last_line_break(keyed: Place) -> None:
    words = keyed._command(("secrets", "set", "private_key", "--job", "1"))
    keyed("jobs", "enqueue", "count", "--program", 1)
    ran = subprocess.run(
        words, cwd=keyed.folder, env=keyed._environment({}), input="line 1\nline 2\n", capture_output=True, text=True, timeout=90
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert stored(keyed, Owner.JOB, 1, "private_key") == "line 1\nline 2"


@on_sqlite
def test_a_secret_on_the_command_line_is_refused_with_the_way_to_give_it(keyed: Place) -> None:
    ran = keyed("jobs", "enqueue", "count", "--program", 1, "--param", f"access_token={MARK}", code=2)
    assert ran.err.startswith("error[SECRET] --param shows the secret access_token to everybody on this host\n")
    assert "--secret access_token < file" in ran.err
    assert MARK not in ran.err
    assert keyed("jobs", "list", "--json").json == []


@on_sqlite
@pytest.mark.parametrize(("words", "code", "said"), [
    (("set", "x"), 2, "say whose the secret is"),
    (("set", "x", "--job", 1, "--user", 1, "--from-env", "TOKEN"), 2, "say whose the secret is"),
    (("set", "x", "--job", 99, "--from-env", "TOKEN"), 4, "there is no job 99"),
    (("set", "x", "--user", 1, "--from-env", "NOT_SET"), 2, "the environment variable NOT_SET holds no secret"),
    (("set", "x", "--user", 1), 2, "standard input holds no secret"),
])
def test_what_is_missing_is_told(keyed: Place, words: tuple[object, ...], code: int, said: str) -> None:
    assert said in keyed("secrets", *words, code=code, TOKEN="x").err


def test_keys_change_without_anything_being_lost(keyed: Place) -> None:
    for number in range(3):
        keyed("secrets", "set", "token", "--user", number, "--from-env", "TOKEN", TOKEN=f"{MARK}{number}")
    newest = keyed("secrets", "new-key", "--add").rows[0][0]
    assert keyed("secrets", "rotate").rows == [["3", "encrypted anew"]]
    assert keyed("secrets", "rotate", "--json").json == {"encrypted_anew": 0, "left": 0, "broken": 0}
    keys = keyed.folder / "keys"
    keys.write_text(keys.read_text().splitlines()[0])
    assert [stored(keyed, Owner.USER, number, "token") for number in range(3)] == [f"{MARK}{number}" for number in range(3)]
    assert {each["key_id"] for each in keyed("secrets", "list", "--json").json} == {newest}


def test_doctor_misses_a_key_that_secrets_lie_under(keyed: Place) -> None:
    def found() -> dict[str, str]:
        findings = keyed("doctor", "--json", code=None).json["findings"]
        return next(each for each in findings if each["id"] == "SECRET-KEYS")

    keyed("secrets", "set", "token", "--user", 1, "--from-env", "TOKEN", TOKEN=MARK)
    assert found()["level"] == "ok"
    (keyed.folder / "keys").write_text(new_key())
    assert found()["level"] == "fail"
    assert "keys that are not at hand" in found()["what"]


@pytest.mark.parametrize("backend", ["postgresql"])
def test_on_postgres_a_secret_without_a_key_is_refused_with_the_way_to_make_one(supervisor: Place) -> None:
    ran = supervisor("secrets", "set", "token", "--user", 1, "--from-env", "TOKEN", code=78, TOKEN=MARK)
    assert ran.err.startswith("error[KEY] there is no key to encrypt secrets with\n")
    assert "supervisor secrets new-key" in ran.err
    key = supervisor("secrets", "new-key").out.strip()
    given = {"TOKEN": MARK, "JOBQUEUE_ENCRYPTION_KEYS": key}
    supervisor("secrets", "set", "token", "--user", 1, "--from-env", "TOKEN", **given)
    other = supervisor("secrets", "rotate", code=78, JOBQUEUE_ENCRYPTION_KEYS=new_key())
    assert "1 secrets could not be" in other.err


@on_sqlite
def test_on_sqlite_the_key_file_stands_beside_the_database(supervisor: Place) -> None:
    supervisor("secrets", "set", "token", "--user", 1, "--from-env", "TOKEN", TOKEN=MARK)
    file = Path(supervisor.database_url.removeprefix("sqlite:///") + ".key")
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    ran = supervisor("secrets", "set", "token", "--user", 1, "--from-env", "TOKEN", code=78, TOKEN=MARK)
    assert f"Run: chmod 600 {file}" in ran.err


@on_sqlite
def test_a_lost_key_is_told_by_every_command_and_at_the_start_until_what_lay_under_it_is_forgotten(supervisor: Place) -> None:
    supervisor("secrets", "set", "token", "--user", 1, "--from-env", "TOKEN", TOKEN=MARK)
    [file] = supervisor.folder.glob("*.key")
    file.rename(supervisor.folder / "elsewhere")
    [lost] = {each["key_id"] for each in supervisor("secrets", "list", "--json").json}
    for words in (("secrets", "set", "b", "--user", 2, "--from-env", "TOKEN"), ("secrets", "rotate"), ("start",),
                  ("secrets", "new-key", "--add"), ("jobs", "enqueue", "count", "--program", 1, "--secret-env", "b=TOKEN")):
        said = supervisor(*words, code=78, TOKEN=MARK).err
        assert "error[KEY]" in said
        assert f"{file} is not there" in said
        assert f"secrets forget --key {lost}" in said
    assert "error[USAGE]" in supervisor("secrets", "forget", "--key", lost, "--user", 1, code=2).err
    assert supervisor("secrets", "forget", "--key", lost).rows == [[f"key {lost}", "1 forgotten"]]
    assert "error[SECRET-NOT-FOUND]" in supervisor("secrets", "forget", "--key", lost, code=4).err
    assert lost in supervisor("audit").out
    supervisor("secrets", "set", "token", "--user", 1, "--from-env", "TOKEN", TOKEN=MARK)
    assert file.exists()


@pytest.mark.parametrize(("text", "said"), [("", "holds no key"), ("short", "is not a key"), (None, "is not a file")])
@on_sqlite
def test_a_key_file_that_cannot_be_used_keeps_a_supervisor_from_starting(
    keyed: Place, text: str | None, said: str
) -> None:
    (keyed.folder / "keys").unlink()
    (keyed.folder / "keys").mkdir() if text is None else (keyed.folder / "keys").write_text(text)
    (keyed.folder / "keys").chmod(0o700)
    ran = keyed("start", code=78)
    assert "error[KEY]" in ran.err
    assert f"{keyed.folder / 'keys'} " in ran.err
    assert said in ran.err
