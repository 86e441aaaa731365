"""Passwords: never shown, and complained about where they stand in the file."""

from __future__ import annotations

import pytest

from config import mask, render, show

from .support import Desk

SECRETIVE = """\
database_url: postgresql://app:hunter2@db/jobs?sslpassword=hunter3
job_types: {token_refresh: 'm:f'}
programs:
  - id: 1
    name: a
    source: google_drive
    settings: {include_trashed: true, api_token: hunter4, nested: {client_secret: hunter5}, credentials: /etc/key.json}
"""


def test_show_tells_every_value_with_its_source_and_no_secret(desk: Desk) -> None:
    loaded = desk.load(SECRETIVE, {"JOBQUEUE__LOCK_TIMEOUT": "90"})
    shown = {line.key: line for line in show(loaded)}
    assert shown["database_url"].value == "postgresql://app:***@db/jobs?sslpassword=***"
    assert shown["database_url"].source == f"{desk.path}:1"
    assert (shown["lock_timeout"].value, shown["lock_timeout"].source) == ("1m30s", "environment JOBQUEUE__LOCK_TIMEOUT")
    assert shown["job_types.token_refresh.handler"].value == "m:f"
    assert shown["programs[0].settings.include_trashed"].value is True
    for key in ("api_token", "nested.client_secret", "credentials"):
        assert shown[f"programs[0].settings.{key}"].value == "***"
    assert "hunter" not in str(list(shown.values()))
    assert list(shown) == list(loaded.sources)


def test_a_password_in_the_file_is_a_warning_and_so_is_a_file_others_can_read(desk: Desk) -> None:
    desk.path.touch()
    desk.path.chmod(0o640)
    warned = render(desk.load(SECRETIVE).warnings, closing="").replace(f"{desk.folder}/", "")
    assert [line for line in warned.splitlines() if "[CFG-" in line] == [
        "jobqueue.yaml:1:15: warning[CFG-LITERAL-SECRET] database_url: a password stands in the file",
        "jobqueue.yaml:7:50: warning[CFG-LITERAL-SECRET] programs[0].settings.api_token: a password stands in the file",
        "jobqueue.yaml:7:83: warning[CFG-LITERAL-SECRET] programs[0].settings.nested.client_secret: "
        "a password stands in the file",
        "warning[CFG-READABLE] jobqueue.yaml holds a password, and others can read it (mode 0640)",
    ]
    assert "hunter" not in warned
    assert warned.endswith("4 warnings.")


def test_a_private_file_and_a_password_from_the_environment_are_fine(desk: Desk) -> None:
    text = "database_url: postgresql://app:${PW}@db/jobs\njob_types: {a: 'm:f'}"
    assert desk.load(text, {"PW": "hunter2"}).warnings == ()
    desk.path.chmod(0o600)
    codes = [warning.code for warning in desk.load(text.replace("${PW}", "hunter2")).warnings]
    assert codes == ["CFG-LITERAL-SECRET"]


def test_no_job_type_is_a_warning(desk: Desk) -> None:
    assert [warning.code for warning in desk.load("").warnings] == ["CFG-NO-JOB-TYPES"]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p@w/x@h/d", "postgresql://u:***@h/d"),
        ("postgresql://:p@h/d", "postgresql://:***@h/d"),
        ("postgresql://u@h:5432/d", "postgresql://u@h:5432/d"),
        ("postgresql://u@h/d?password=x&a=b", "postgresql://u@h/d?password=***&a=b"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/"),
    ],
)
def test_only_the_password_of_a_url_is_masked(text: str, masked: str) -> None:
    assert mask(text) == masked
