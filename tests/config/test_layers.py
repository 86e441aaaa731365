"""Which value wins, what it is relative to, and what is filled in."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import ConfigError, Settings, default_text, find_config, load

from .support import NO_ENVIRONMENT, Desk

FILE = "workers: {count: 3, process_ids: [a]}\nretry: {max_retries: 7}\nlogging: {level: ERROR}\n"


def test_the_command_line_wins_over_the_environment_over_the_file_over_the_default(desk: Desk) -> None:
    environment = {"JOBQUEUE__WORKERS__COUNT": "5", "JOBQUEUE__RETRY__MAX_RETRIES": "5", "LOG_LEVEL": "debug"}
    loaded = desk.load(FILE, environment, {"workers.count": 9, "api.enabled": None})
    assert loaded.settings.workers.count == 9
    assert loaded.settings.retry.max_retries == 5
    assert loaded.settings.workers.process_ids == ("a",)
    assert loaded.settings.poll_interval == 1.0
    assert {key: str(loaded.sources[key]) for key in ("workers.count", "retry.max_retries", "logging.level")} == {
        "workers.count": "command line",
        "retry.max_retries": "environment JOBQUEUE__RETRY__MAX_RETRIES",
        "logging.level": "environment LOG_LEVEL",
    }
    assert str(loaded.sources["workers.process_ids"]) == f"{desk.path}:1"
    assert str(loaded.sources["poll_interval"]) == "default"


def test_database_url_wins_over_the_long_name(desk: Desk) -> None:
    environment = {"DATABASE_URL": "postgres://u@h/one", "JOBQUEUE__DATABASE_URL": "postgres://u@h/two"}
    assert desk.settings("", environment).database_url == "postgres://u@h/one"


def test_an_empty_variable_counts_as_not_set(desk: Desk) -> None:
    environment = {"DATABASE_URL": "", "LOG_LEVEL": "", "JOBQUEUE__WORKERS__COUNT": ""}
    assert desk.settings(FILE, environment).logging.level == "ERROR"


def test_the_environment_can_hold_lists_mappings_short_forms_and_nulls(desk: Desk) -> None:
    environment = {
        "JOBQUEUE__WORKERS": "4",
        "JOBQUEUE__WORKERS__PROCESS_IDS": "[x, y]",
        "JOBQUEUE__RETRY": "{max: 2h}",
        "JOBQUEUE__JOB_TYPES__FULLSCAN__TIMEOUT": "1h30m",
        "JOBQUEUE__LOGGING__FILE": "null",
    }
    settings = desk.settings(FILE + "job_types: {FullScan: 'm:f'}", environment)
    assert (settings.workers.count, settings.workers.process_ids) == (4, ("x", "y"))
    assert (settings.retry.max, settings.retry.max_retries) == (7200, 7)
    assert settings.job_types["FullScan"].timeout == 5400
    assert settings.logging.file is None


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("JOBQUEUE__RETRY__FACTR", "3",
         "error[CFG-UNKNOWN] retry.factr: unknown setting 'factr', did you mean 'factor'?"),
        ("JOBQUEUE__RETRY__FACTOR", "x", "error[CFG-TYPE] retry.factor: must be a number, not the text 'x'"),
        ("JOBQUEUE__WORKERS__PROCESS_IDS", "[a", "error[CFG-SYNTAX] not YAML: expected ',' or ']', but got '<stream end>'"),
        ("JOBQUEUE____X", "1", "error[CFG-UNKNOWN] '': unknown setting ''"),
        ("LOG_LEVEL", "loud", "error[CFG-CHOICE] logging.level: must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("DATABASE_URL", "oracle://u:hunter2@h",
         "error[CFG-DATABASE-URL] database_url: 'oracle' is not a known kind of database"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_environment_names_the_variable(desk: Desk, name: str, value: str, complaint: str) -> None:
    said = desk.complaint("", {name: value})
    assert said.startswith(f"environment {name}: {complaint}")
    assert "hunter2" not in said


def test_a_mistake_on_the_command_line_says_so(desk: Desk) -> None:
    assert desk.complaint("", {}, {"workers.count": "many"}).splitlines()[0] == (
        "command line: error[CFG-TYPE] workers.count: must be a whole number, not the text 'many'"
    )


def test_paths_of_the_file_are_relative_to_the_file(desk: Desk) -> None:
    text = """\
database_url: sqlite:///data/../queue.db?cache=private
run_dir: run
logging: {file: logs/x.log}
programs:
  - {id: 1, name: a, folder: ./docs, settings: {credentials: ./key.json, endpoint: "http://x/", folder: plain}}
  - {id: 2, name: b, source: google_drive, folder: folder_123}
"""
    settings = desk.settings(text)
    assert settings.database_url == f"sqlite:///{desk.folder}/queue.db?cache=private"
    assert settings.run_dir == desk.folder / "run"
    assert settings.logging.file == desk.folder / "logs/x.log"
    assert settings.programs[0].folder == f"{desk.folder}/docs"
    assert settings.programs[0].settings == {
        "credentials": f"{desk.folder}/key.json", "endpoint": "http://x/", "folder": "plain",
    }  # fmt: skip
    assert settings.programs[1].folder == "folder_123"


def test_paths_of_the_environment_are_relative_to_the_working_directory(desk: Desk) -> None:
    environment = {"DATABASE_URL": "sqlite:///x.db", "JOBQUEUE__RUN_DIR": "run"}
    settings = desk.settings("", environment)
    assert settings.database_url == f"sqlite:///{Path.cwd()}/x.db"
    assert settings.run_dir == Path.cwd() / "run"


def test_absolute_paths_and_postgres_urls_are_kept_as_given(desk: Desk) -> None:
    url = "postgresql://u@h1:5432,h2:5433/db?target_session_attrs=read-write"
    assert desk.settings(f"database_url: {url}").database_url == url
    assert desk.settings("database_url: sqlite:////var/lib/queue.db").database_url == "sqlite:////var/lib/queue.db"


def test_the_default_database_and_run_folder_stand_beside_the_file(desk: Desk) -> None:
    loaded = desk.load("")
    assert loaded.settings.database_url == f"sqlite:///{desk.folder}/jobqueue.db"
    assert loaded.settings.run_dir == desk.folder / ".jobqueue"
    assert str(loaded.sources["database_url"]) == "default"


def test_the_retry_rules_of_a_job_type_are_completed_from_the_general_ones(desk: Desk) -> None:
    text = "retry: {max_retries: 8, initial: 1m}\njob_types:\n  a: m:f\n  b: {handler: m:f, retry: {max_retries: 0}}\n"
    loaded = desk.load(text)
    assert loaded.settings.job_types["a"].retry == loaded.settings.retry
    assert loaded.settings.job_types["b"].retry.max_retries == 0
    assert loaded.settings.job_types["b"].retry.initial == 60
    assert str(loaded.sources["job_types.b.retry.initial"]) == f"{desk.path}:1"


def test_lane_none_means_no_lane(desk: Desk) -> None:
    text = "job_types: {a: {handler: 'm:f', lane: none}, b: {handler: 'm:f', lane: all}, c: {handler: 'm:f'}}"
    types = desk.settings(text).job_types
    assert [types[name].lane for name in "abc"] == [None, "all", None]


def test_as_many_workers_run_as_are_named_and_the_rest_are_named_after_the_host(desk: Desk) -> None:
    assert desk.settings("workers: {process_ids: [a, b, c]}").workers.count == 3
    assert desk.settings("workers: {count: 3, process_ids: [a]}").workers.named("host") == ("a", "host-2", "host-3")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().lock_timeout = 1.0  # type: ignore[misc]


def test_references_are_filled_in_after_parsing(desk: Desk) -> None:
    environment = {"COUNT": "4", "PASSWORD": "a: [b, ${COUNT}", "EMPTY": ""}
    text = """\
workers: ${COUNT}
database_url: postgresql://u:${MISSING:-pw}@h/${EMPTY:-db}
api: {host: "$$x${EMPTY}$y", port: "${COUNT}000"}
programs: [{id: 1, name: "${PASSWORD}", folder: ./a}]
"""
    problems = desk.problems(text, environment)
    assert [problem.message for problem in problems] == ["api.port: must be a whole number, not the text '4000'"]
    settings = desk.settings(text.replace('"${COUNT}000"', "5"), environment)
    assert settings.workers.count == 4
    assert settings.database_url == "postgresql://u:pw@h/db"
    assert settings.api.host == "$x$y"
    assert settings.programs[0].name == "a: [b, ${COUNT}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("run_dir: a/${HOM}/b", "1:12: error[CFG-INTERPOLATION] the environment variable HOM is not set, did you mean 'HOME'?"),
        ('run_dir: "a/${NOPE}"', "1:13: error[CFG-INTERPOLATION] the environment variable NOPE is not set"),
        ("run_dir: ${NOPE:?set it first}", "1:10: error[CFG-INTERPOLATION] NOPE: set it first"),
        ("run_dir: x${HOME:+y}", "1:11: error[CFG-INTERPOLATION] '${HOME:+y}' is not a reference to a variable"),
        ("run_dir: ${A:-${B}}", "1:10: error[CFG-INTERPOLATION] a default cannot contain another ${...}"),
        ("run_dir: ${HOME", "1:10: error[CFG-INTERPOLATION] '${HOME' is not a reference to a variable"),
    ],
)  # fmt: skip
def test_a_reference_that_cannot_be_filled_in_is_refused_at_its_letter(desk: Desk, text: str, complaint: str) -> None:
    assert desk.headlines(text, {"HOME": "/home/x"}) == [f"jobqueue.yaml:{complaint}"]


def test_the_file_is_found_by_name_by_variable_or_in_the_working_directory(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.folder)
    with pytest.raises(ConfigError) as caught:
        find_config(None, NO_ENVIRONMENT)
    (problem,) = caught.value.problems
    assert problem.message == f"no configuration: looked for -c, for JOBQUEUE_CONFIG (not set), and for {desk.path}"
    assert "supervisor init" in problem.hint
    desk.path.write_text("workers: 4")
    assert find_config(None, NO_ENVIRONMENT) == Path("jobqueue.yaml")
    assert find_config(None, {"JOBQUEUE_CONFIG": str(desk.path)}) == desk.path
    assert load(environment=NO_ENVIRONMENT).path == desk.path
    with pytest.raises(ConfigError, match=r"gone\.yaml, named by JOBQUEUE_CONFIG, does not exist"):
        find_config(None, {"JOBQUEUE_CONFIG": "gone.yaml"})
    with pytest.raises(ConfigError, match=r"other\.yaml does not exist"):
        find_config("other.yaml", {"JOBQUEUE_CONFIG": str(desk.path)})


def test_the_file_that_comes_with_the_release_loads_without_a_warning(desk: Desk) -> None:
    loaded = desk.load(default_text())
    assert loaded.warnings == ()
    assert set(loaded.settings.job_types) == {"full_scan", "specific_folder", "incremental"}
    assert loaded.settings.programs[0].index == "on_start"


def test_without_a_working_directory_only_what_is_relative_to_it_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = desk.folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    absolute = {"DATABASE_URL": "postgresql://u@h/one", "JOBQUEUE__RUN_DIR": "/tmp/run"}
    assert str(desk.settings(FILE, absolute).run_dir) == "/tmp/run"
    for environment in ({"DATABASE_URL": "sqlite:///queue.db"}, {"JOBQUEUE__RUN_DIR": "run"}):
        with pytest.raises(ConfigError, match="the working directory does not exist any more"):
            desk.settings(FILE, environment)
    with pytest.raises(ConfigError, match="the working directory does not exist any more"):
        find_config(None, NO_ENVIRONMENT)


def test_the_digest_is_that_of_the_text_that_was_read(desk: Desk) -> None:
    first, second = desk.load(FILE), desk.load(FILE + "poll_interval: 2\n")
    assert first.digest == desk.load(FILE).digest != second.digest
    assert len(first.digest) == 12


def test_what_the_command_line_said_is_passed_on_by_the_environment(desk: Desk) -> None:
    given = {"workers.count": 9, "api.port": 0, "api.enabled": True, "logging.format": "json", "workers.process_ids": ("a", "1")}
    loaded = desk.load(FILE, overrides=given | {"poll_interval": None})
    passed = loaded.from_command_line()
    assert passed.keys() == {"JOBQUEUE__" + key.upper().replace(".", "__") for key in given}
    assert desk.load(FILE, passed).settings == loaded.settings
    assert desk.load(FILE).from_command_line() == {}
