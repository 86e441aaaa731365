"""Files that are not YAML, not text, too large, or YAML with a trap in it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from config import ConfigError, load

from .support import NO_ENVIRONMENT, Desk


def test_a_duplicate_key_is_refused_with_both_lines(desk: Desk) -> None:
    assert desk.complaint("retry:\n  max: 1h\n  factor: 3\n  max: 2h\n") == """\
jobqueue.yaml:4:3: error[CFG-DUPLICATE-KEY] duplicate key 'max'; it stands on line 2 already
   4 |   max: 2h
     |   ^
  fix: keep one of them
1 error. The supervisor was not started."""


def test_unquoted_cron_stars_are_refused_and_reading_goes_on(desk: Desk) -> None:
    text = "x-a: {cron: * * * * *, b: 1}\nworkers: {count: */5 * * * *}\nlock_timeout: 1s\n"
    assert desk.headlines(text) == [
        'jobqueue.yaml:1:13: error[CFG-CRON-QUOTE] a cron expression that starts with * must be quoted: "* * * * *"',
        'jobqueue.yaml:2:18: error[CFG-CRON-QUOTE] a cron expression that starts with * must be quoted: "*/5 * * * *"',
        "jobqueue.yaml:3:15: error[CFG-LOCK-TIMEOUT] lock_timeout: 1s is less than three times heartbeat_interval (5s); "
        "one late beat loses the job",
    ]


@pytest.mark.parametrize(
    ("text", "headline", "fix"),
    [
        ("a: b: c",
         "1:5: error[CFG-SYNTAX] not YAML: mapping values are not allowed here", "quote a value that contains a colon"),
        ("a:\n\t- b",
         "2:1: error[CFG-SYNTAX] not YAML: found character '\\t' that cannot start any token", "indent with spaces"),
        ("retry: {max: 1h",
         "1:16: error[CFG-SYNTAX] not YAML: expected ',' or '}', but got '<stream end>'", "close the bracket"),
        ("a: 'b", "1:6: error[CFG-SYNTAX] not YAML: found unexpected end of stream", "close the quote"),
        ("run_dir: *.x",
         "1:11: error[CFG-SYNTAX] not YAML: expected alphabetic or numeric character", "quote a value that starts with *"),
        ("api: {host: ${HOST}}", "1:14: error[CFG-SYNTAX] not YAML: expected ',' or '}'",
         'inside { } and [ ], quote a value with a reference: "${NAME}"'),
        ("workers: 1\n---\nworkers: 2",
         "2:1: error[CFG-SYNTAX] not YAML: but found another document", "remove the line ---"),
        ("x-retry: &retry {}\nretry: *retyr",
         "2:8: error[CFG-ALIAS] no anchor &retyr stands above this alias", "did you mean 'retry'?"),
        ("retry: &a {max: *a}", "1:8: error[CFG-ALIAS] an alias inside its own anchor", "write the value out"),
        ("run_dir: !!python/object/apply:os.system [ls]",
         "1:10: error[CFG-TAG] the tag !!python/object/apply:os.system", "without a tag"),
        ("run_dir: !!binary aGk=", "1:10: error[CFG-TAG] the tag !!binary is not known here", "without a tag"),
        ("- a\n- b", "1:1: error[CFG-TYPE] the file must be a mapping of settings", "begin with a line like workers: 2"),
        ("? [a]\n: b", "1:3: error[CFG-TYPE] a key must be a word", "quote a key that starts with"),
        ("<<: 5", "1:5: error[CFG-TYPE] << merges mappings only", "name an anchor of a mapping"),
        ('run_dir: "\\ud800"', "1:10: error[CFG-ENCODING] half of a surrogate pair is not a character", "remove"),
        ('run_dir: "\\UFFFFFFFF"', "1:13: error[CFG-SYNTAX] not YAML:", "check the text in front"),
        ("a: 1\nb: \x07", "2:4: error[CFG-ENCODING] the character U+0007 is not allowed in YAML", "remove it"),
        (b"a: 1\nb: x\xff", "2:5: error[CFG-ENCODING] byte 0xff is not UTF-8 text", "save the file as UTF-8"),
    ],
)  # fmt: skip
def test_what_is_not_yaml_is_refused_with_a_hint(desk: Desk, text: str | bytes, headline: str, fix: str) -> None:
    complaint = desk.complaint(text)
    assert complaint.startswith(f"jobqueue.yaml:{headline}")
    assert fix in complaint
    assert complaint.endswith("1 error. The supervisor was not started.")


def test_a_file_of_100_megabytes_is_refused_at_once(desk: Desk) -> None:
    with desk.path.open("wb") as file:
        file.truncate(100_000_000)
    started = time.monotonic()
    with pytest.raises(ConfigError, match="the file is larger than 1 MiB"):
        load(desk.path, environment=NO_ENVIRONMENT)
    assert time.monotonic() - started < 2


def test_an_alias_bomb_is_refused_at_once(desk: Desk) -> None:
    lines = ["x0: &x0 [l, o, l]"] + [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 12)]
    started = time.monotonic()
    (problem,) = desk.problems("\n".join(lines))
    assert problem.message == "aliases expand to more than 10,000 values"
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("text", ["[" * 500_000, "{a: " * 5_000, "- " * 5_000, "? " * 5_000])
def test_a_bottomless_file_is_refused(desk: Desk, text: str) -> None:
    (problem,) = desk.problems(text)
    assert problem.message == "nested deeper than 32 levels"


def test_a_file_of_too_many_values_is_refused(desk: Desk) -> None:
    (problem,) = desk.problems("x-a: [" + "1," * 60_000 + "]")
    assert problem.message == "more than 50,000 values"


def test_a_folder_or_a_missing_file_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"CFG-UNREADABLE.*Is a directory"):
        load(tmp_path, environment=NO_ENVIRONMENT)
    with pytest.raises(ConfigError, match=r"CFG-NOT-FOUND.*absent\.yaml does not exist"):
        load(tmp_path / "absent.yaml", environment=NO_ENVIRONMENT)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "\ufeff", "workers:\nretry:\njob_types:\nrun_dir:\n"])
def test_what_is_left_empty_has_its_default(desk: Desk, text: str) -> None:
    settings = desk.settings(text)
    assert settings.workers.count == 2
    assert settings.run_dir == desk.folder / ".jobqueue"


def test_anchors_and_merges_work_and_x_keys_are_free(desk: Desk) -> None:
    text = """\
x-slow: &slow {timeout: 6h, lane: "program:{program_id}"}
x-unused: {anything: goes}
job_types:
  full: {<<: *slow, handler: "m:full"}
  quick: {<<: [*slow], handler: "m:quick", timeout: 5m}
"""
    loaded = desk.load(text)
    full, quick = loaded.settings.job_types["full"], loaded.settings.job_types["quick"]
    assert (full.timeout, quick.timeout) == (21_600, 300)
    assert full.lane == quick.lane == "program:{program_id}"
    assert str(loaded.sources["job_types.full.timeout"]) == f"{desk.path}:1"


def test_scalars_mean_what_yaml_1_2_says(desk: Desk) -> None:
    text = """\
programs:
  - id: 0x10
    name: "5"
    folder: no
    settings: {a: on, b: 0600, c: 12:30, d: 2026-01-01, e: ~, f: 1e3, g: 0o17, h: TRUE, i: 1_000, j: !!str 5, k: +7, l: 01.5}
"""
    program = desk.settings(text).programs[0]
    assert program.id == 16
    assert program.folder == str(desk.folder / "no")
    assert program.settings == {
        "a": "on", "b": "0600", "c": "12:30", "d": "2026-01-01", "e": None, "f": 1000.0,
        "g": 15, "h": True, "i": "1_000", "j": "5", "k": 7, "l": "01.5",
    }  # fmt: skip
