"""`init` and `config`."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Place


def test_init_writes_a_file_that_passes_its_own_check(place: Place) -> None:
    assert place("init").rows == [["wrote", "jobqueue.yaml"]]
    assert place("config", "check").rows == [["ok", str(place.folder / "jobqueue.yaml")]]


def test_init_leaves_an_existing_file_alone(place: Place) -> None:
    place.write("workers: 7\n")
    assert "error[INIT-EXISTS]" in place("init", code=5).err
    assert (place.folder / "jobqueue.yaml").read_text() == "workers: 7\n"
    place("init", "--force")
    assert "database_url" in (place.folder / "jobqueue.yaml").read_text()


def test_init_says_which_folder_is_missing(place: Place) -> None:
    assert "nowhere/jobqueue.yaml" in place("init", "nowhere/jobqueue.yaml", code=1).err


def test_every_mistake_is_shown_at_once_with_its_place(place: Place) -> None:
    place.write("heartbeat_intervall: 3s\nworkers: {count: many}\n")
    said = place("config", "check", code=78).err
    assert "jobqueue.yaml:1:1: error[CFG-UNKNOWN]" in said
    assert "did you mean 'heartbeat_interval'?" in said
    assert "jobqueue.yaml:2:" in said


def test_mistakes_can_be_read_by_a_program(place: Place) -> None:
    place.write("heartbeat_intervall: 3s\n")
    answer = place("config", "check", "--json", code=78).json
    assert answer["ok"] is False
    assert answer["problems"][0]["id"] == "CFG-UNKNOWN"
    assert answer["problems"][0]["where"].endswith("jobqueue.yaml:1:1")


def test_a_handler_that_is_not_there_is_found_by_the_check(place: Place) -> None:
    place.write("def index_folder(ctx): pass\n", "my_handlers.py")
    place.write("job_types:\n  index: my_handlers:index_foldr\n")
    said = place("config", "check", code=78).err
    assert "jobqueue.yaml:2:" in said
    assert "error[CFG-HANDLER]" in said
    assert "did you mean 'index_folder'?" in said


def test_start_with_check_answers_like_the_check(place: Place) -> None:
    place.write("job_types:\n  index: my_handlers:index_folder\n")
    assert "error[CFG-HANDLER]" in place("start", "--check", code=78).err
    place.write("def index_folder(ctx): print('imported')\n", "my_handlers.py")
    assert place("start", "--check").rows == [["ok", str(place.folder / "jobqueue.yaml")]]


def test_what_a_handlers_module_prints_stays_out_of_the_data(place: Place) -> None:
    place.write("print('hello from the import')\ndef index_folder(ctx): pass\n", "my_handlers.py")
    place.write("job_types:\n  index: my_handlers:index_folder\n")
    ran = place("config", "check", "--json")
    assert ran.json["ok"] is True
    assert "hello from the import" in ran.err


def test_handlers_may_stand_beside_the_file_wherever_the_command_is_run(place: Place) -> None:
    (place.folder / "deployed").mkdir()
    place.write("def work(ctx): pass\n", "deployed/my_handlers.py")
    place.write("job_types:\n  work: my_handlers:work\n", "deployed/jobqueue.yaml")
    assert place("config", "check", "-c", "deployed/jobqueue.yaml").rows[0][0] == "ok"


def test_show_says_where_each_value_comes_from(place: Place) -> None:
    place.write("database_url: postgresql://app:${SECRET}@db/jobs\nworkers: 3\n")
    ran = place("config", "show", SECRET="hunter2", LOG_LEVEL="debug")
    rows = {row[0]: row[1:] for row in ran.rows}
    assert rows["workers.count"] == ["3", "jobqueue.yaml:2"]
    assert rows["logging.level"] == ['"DEBUG"', "environment LOG_LEVEL"]
    assert "hunter2" not in ran.out


def test_the_command_line_wins_over_the_environment(place: Place) -> None:
    place.write("workers: 3\n", "elsewhere.yaml")
    place.write("workers: 4\n", "here.yaml")
    named = place("config", "show", JOBQUEUE_CONFIG=str(place.folder / "elsewhere.yaml"))
    assert ["workers.count", "3"] in [row[:2] for row in named.rows]
    given = place("config", "show", "-c", "here.yaml", JOBQUEUE_CONFIG=str(place.folder / "elsewhere.yaml"))
    assert ["workers.count", "4"] in [row[:2] for row in given.rows]


def test_the_schema_is_json_on_stdout_or_in_a_file(place: Place) -> None:
    printed = place("config", "schema").json
    assert "workers" in printed["properties"]
    place("config", "schema", "--output", "schema.json")
    assert (place.folder / "schema.json").read_text() == place("config", "schema").out


@pytest.mark.parametrize(
    "command", [("jobs", "list"), ("status",), ("start",), ("stop",), ("db", "check"), ("doctor",)]
)
def test_a_missing_file_is_said_by_every_command(command: tuple[str, ...], place: Place) -> None:
    ran = place(*command, code=1 if command == ("doctor",) else 78)
    assert "CFG-NOT-FOUND" in ran.err + ran.out
    assert "supervisor init" in ran.err + ran.out


def test_a_file_that_may_not_be_read_is_said(place: Place) -> None:
    place.write("workers: 1\n").chmod(0)
    assert "CFG-UNREADABLE" in place.without_privilege("jobs", "list", code=78).err


def test_a_folder_in_place_of_a_file_is_said(place: Place) -> None:
    assert "CFG-UNREADABLE" in place("jobs", "list", "-c", ".", code=78).err
