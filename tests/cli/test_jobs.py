"""`jobs`: what each command prints and how it exits, on both databases."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, insert

from backends.tables import job_attempts
from tests.backends.scene import insert_raw
from tests.cli.conftest import Place, on_sqlite
from tests.support import eventually


def enqueue(supervisor: Place, *arguments: object) -> int:
    return int(supervisor("jobs", "enqueue", "count", "--program", 1, "--user", 1, *arguments).rows[0][0])


def test_an_enqueued_job_is_one_line_with_its_id(supervisor: Place) -> None:
    ran = supervisor("jobs", "enqueue", "count", "--program", 1, "--user", 7)
    assert ran.rows == [[ran.rows[0][0], "pending", "count"]]
    assert supervisor("jobs", "show", ran.rows[0][0], "--json").json["user_id"] == 7


def test_parameters_are_json_when_they_read_as_json_and_text_otherwise(supervisor: Place) -> None:
    given = (
        "--param",
        "total=3",
        "--param",
        "name=a b",
        "--param",
        'deep={"x": [1]}',
        "--param",
        "flag=true",
        "--param",
        "nan=NaN",
    )
    job = supervisor("jobs", "enqueue", "count", "--program", 1, *given, "--json").json
    assert job["parameters"] == {"total": 3, "name": "a b", "deep": {"x": [1]}, "flag": True, "nan": "NaN"}


@pytest.mark.parametrize("word", ["total", "=3", ""])
def test_a_parameter_that_is_no_pair_is_a_usage_error(word: str, place: Place) -> None:
    ran = place("jobs", "enqueue", "count", "--program", 1, "--param", word, code=2)
    assert "error[BAD-PARAM]" in ran.err
    assert "--param depth=3" in ran.err


@on_sqlite
def test_a_parameter_that_cannot_be_stored_is_a_usage_error(supervisor: Place) -> None:
    ran = supervisor("jobs", "enqueue", "count", "--program", 1, "--param", 'text="\\u0000"', code=2)
    assert "error[BAD-PARAM]" in ran.err
    assert "NUL" in ran.err


def test_a_time_that_is_none_is_a_usage_error(place: Place) -> None:
    ran = place("jobs", "enqueue", "count", "--program", 1, "--at", "tomorrow", code=2)
    assert ran.err.startswith("error[BAD-TIME] --at: 'tomorrow' is not a time\n  Write ISO 8601")


def test_a_job_for_later_waits_for_its_time(supervisor: Place) -> None:
    at = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    job = enqueue(supervisor, "--at", at.isoformat())
    assert datetime.fromisoformat(supervisor("jobs", "show", job, "--json").json["scheduled_at"]) == at


@on_sqlite
def test_an_unknown_type_is_answered_with_the_one_that_was_meant(supervisor: Place) -> None:
    ran = supervisor("jobs", "enqueue", "cuont", "--program", 1, code=2)
    assert "error[JOB-TYPE] no job type is called 'cuont', did you mean 'count'?" in ran.err
    assert supervisor("jobs", "list").rows == []


@on_sqlite
def test_a_type_that_others_serve_can_be_enqueued_on_purpose(supervisor: Place) -> None:
    assert supervisor("jobs", "enqueue", "elsewhere", "--program", 1, "--any-type").rows[0][2] == "elsewhere"


def test_the_same_key_is_the_same_job(supervisor: Place) -> None:
    assert enqueue(supervisor, "--key", "nightly") == enqueue(supervisor, "--key", "nightly")


def test_jobs_are_listed_newest_first_and_by_page(supervisor: Place) -> None:
    ids = [enqueue(supervisor) for _ in range(3)]
    first = supervisor("jobs", "list", "--limit", 2)
    assert [int(row[0]) for row in first.rows] == [ids[2], ids[1]]
    assert f"--before {ids[1]}" in first.err
    second = supervisor("jobs", "list", "--limit", 2, "--before", ids[1])
    assert [int(row[0]) for row in second.rows] == [ids[0]]
    assert not second.err


def test_a_list_can_be_narrowed(supervisor: Place) -> None:
    mine = enqueue(supervisor)
    other = int(supervisor("jobs", "enqueue", "refuse", "--program", 2).rows[0][0])
    supervisor("jobs", "cancel", other)
    assert [job["id"] for job in supervisor("jobs", "list", "--program", 2, "--json").json] == [other]
    assert [job["id"] for job in supervisor("jobs", "list", "--type", "count", "--json").json] == [mine]
    assert [job["id"] for job in supervisor("jobs", "list", "--status", "cancelled", "--json").json] == [other]
    assert supervisor("jobs", "list", "--program", 3).err == "No job matches.\n"


@on_sqlite
def test_an_unknown_status_is_answered_with_the_one_that_was_meant(supervisor: Place) -> None:
    assert "did you mean 'failed'?" in supervisor("jobs", "list", "--status", "faild", code=2).err


@on_sqlite
def test_lines_are_neither_padded_nor_shortened_nor_broken(supervisor: Place) -> None:
    folder = "folder\twith\na very long name " * 20
    job = enqueue(supervisor, "--folder", folder)
    rows = dict(supervisor("jobs", "show", job).rows)
    assert rows["folder_id"] == folder.replace("\t", "\\t").replace("\n", "\\n")
    assert rows["status"] == "pending"


@pytest.mark.parametrize("command", ["show", "why"])
def test_a_job_that_is_not_there_is_said(command: str, supervisor: Place) -> None:
    assert supervisor("jobs", command, 4711, code=4).err.startswith("error[JOB-NOT-FOUND] there is no job 4711\n")


@pytest.mark.parametrize("command", ["cancel", "retry"])
def test_the_missing_among_several_is_said_and_the_others_are_done(command: str, supervisor: Place) -> None:
    job = enqueue(supervisor)
    if command == "retry":
        supervisor("jobs", "cancel", job)
    ran = supervisor("jobs", command, job, 4711, code=4)
    assert ran.rows == [[str(job), "cancelled" if command == "cancel" else "retried"]]
    assert ran.err == "error[JOB-NOT-FOUND] job 4711 does not exist\n"


def test_what_is_over_cannot_be_cancelled_and_what_waits_not_retried(supervisor: Place) -> None:
    job = enqueue(supervisor)
    assert f"error[JOB-STATUS] job {job} is pending or running" in supervisor("jobs", "retry", job, code=5).err
    supervisor("jobs", "cancel", job)
    assert f"error[JOB-STATUS] job {job} is over already" in supervisor("jobs", "cancel", job, code=5).err
    assert supervisor("jobs", "cancel", job, "--json", code=5).json == [{"id": job, "answer": "final"}]


def test_why_says_what_a_job_waits_for(supervisor: Place) -> None:
    job = enqueue(supervisor)
    assert "no supervisor is running" in supervisor("jobs", "why", job).out
    answer = supervisor("jobs", "why", job, "--json").json
    assert answer["id"] == job
    assert len(answer["reasons"]) == 2
    assert dict(supervisor("jobs", "show", job).rows)["waits_for"] == "; ".join(answer["reasons"])


@on_sqlite
def test_a_number_no_column_can_hold_is_a_usage_error(supervisor: Place) -> None:
    assert "does not fit" in supervisor("jobs", "list", "--program", 2**31, code=2).err
    assert "'ID'" in supervisor("jobs", "show", 2**63, code=2).err


@on_sqlite
def test_a_terminal_gets_a_table_with_headings(supervisor: Place) -> None:
    job = enqueue(supervisor)
    code, screen = supervisor.on_a_terminal("jobs", "list")
    assert code == 0
    assert "STATUS" in screen
    assert f"{job}" in screen
    assert "\x1b[" not in supervisor.on_a_terminal("jobs", "list", NO_COLOR="1")[1].replace("\x1b[1m", "").replace(
        "\x1b[0m", ""
    )


@on_sqlite
def test_a_name_cannot_steer_the_terminal(supervisor: Place) -> None:
    job = enqueue(supervisor, "--folder", "\x1b]0;owned\x07")
    assert "\x1b]0;" not in supervisor.on_a_terminal("jobs", "show", job)[1]


def test_waiting_ends_with_the_outcome_of_the_job(running: Place) -> None:
    for job_type, code, status in (("count", 0, "completed"), ("refuse", 1, "failed"), ("withdraw", 5, "cancelled")):
        ran = running("jobs", "enqueue", job_type, "--program", 1, "--wait", code=code)
        assert ran.rows[-1][1] == status
        document = running("jobs", "enqueue", job_type, "--program", 1, "--wait", "--json", code=code).json
        assert document["status"] == status


def test_a_failed_job_shows_its_attempts_and_can_be_retried(bystander: Place) -> None:
    job = int(bystander("jobs", "enqueue", "refuse", "--program", 1, "--wait", code=1).rows[0][0])
    attempts = [row for row in bystander("jobs", "show", job).rows if row[0] == "attempt"]
    assert attempts[0][2:4] == ["gave_up", "no such folder"]
    assert bystander("jobs", "show", job, "--json").json["attempts"][0]["reason"] == "no such folder"
    assert bystander("jobs", "retry", job).rows == [[str(job), "retried"]]


def test_a_running_job_is_asked_to_stop(bystander: Place) -> None:
    job = int(bystander("jobs", "enqueue", "linger", "--program", 1).rows[0][0])
    eventually(lambda: bystander("jobs", "show", job, "--json").json["status"] == "running", within=15, every=0.1)
    assert bystander("jobs", "cancel", job).rows == [[str(job), "asked"]]
    eventually(lambda: bystander("jobs", "show", job, "--json").json["status"] == "cancelled", within=15, every=0.1)


def test_waiting_on_a_terminal_draws_a_bar(bystander: Place) -> None:
    code, screen = bystander.on_a_terminal("jobs", "enqueue", "count", "--program", 1, "--wait")
    assert code == 0
    assert "━" in screen
    assert "completed" in screen


@on_sqlite
def test_json_is_one_document(supervisor: Place) -> None:
    enqueue(supervisor)
    assert len(supervisor("jobs", "list", "--json").out.splitlines()) == 1
    assert json.loads(supervisor("jobs", "list", "--json").out)[0]["job_type"] == "count"


def test_a_list_omits_large_parameters_and_show_has_them_and_the_newest_attempts(supervisor: Place, engine: Engine) -> None:
    job = insert_raw(engine, job_parameters=json.dumps({"text": "x" * 10_000}), error_message="y" * 3_000)
    with engine.begin() as connection:
        attempt = {"job_id": job, "outcome": "failed", "reason": "no", "ended_at": datetime.now(UTC)}
        connection.execute(insert(job_attempts), [attempt | {"lease": lease} for lease in range(1, 103)])
    (listed,) = supervisor("jobs", "list", "--json").json
    assert listed["parameters"] == {"omitted": "10012 bytes; ask for the job itself"}
    assert listed["error_message"] == "y" * 1_000 + " [3000 bytes in all]"
    shown = supervisor("jobs", "show", job, "--json").json
    assert (shown["parameters"], shown["error_message"]) == ({"text": "x" * 10_000}, "y" * 3_000)
    assert ([each["lease"] for each in shown["attempts"]], shown["more_attempts"]) == (list(range(3, 103)), True)
    assert "newest 100 attempts" in supervisor("jobs", "show", job).err
