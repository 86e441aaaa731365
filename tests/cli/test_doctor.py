"""`doctor`: what it finds, on both databases; and each check by itself, as the function of its arguments that it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backends import Stale, Transaction
from supervisor.commands import checks
from tests.cli.conftest import CONFIGURATION, Place, on_sqlite
from tests.support import eventually

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DURABLE = {"fsync": "on", "full_page_writes": "on"}


def levels(place: Place) -> dict[str, str]:
    """What `doctor` found, by id; its exit code is checked against it. The tests' own server runs without fsync."""
    ran = place("doctor", "--json", code=None)
    found = {finding["id"]: finding["level"] for finding in ran.json["findings"]}
    assert ran.code == int("fail" in found.values())
    assert ran.json["ok"] == (ran.code == 0)
    return found


def test_a_running_installation_is_in_order(running: Place) -> None:
    wanted = dict.fromkeys(("SUPERVISOR-ALIVE", "HANDLER-IMPORT", "DB-SCHEMA", "LEASE-STALE"), "ok")

    def found() -> dict[str, str]:
        """It has just started, and may not have said so in the database."""
        return {name: level for name, level in levels(running).items() if name in wanted}

    eventually(lambda: found() == wanted)


def test_every_finding_is_documented_and_every_flaw_has_a_fix(supervisor: Place) -> None:
    for finding in supervisor("doctor", "--json", code=None).json["findings"]:
        assert finding["id"] in checks.FINDINGS
        assert finding["level"] == "ok" or finding["fix"]


@on_sqlite
def test_nobody_running_is_a_warning_not_a_failure(supervisor: Place) -> None:
    assert levels(supervisor)["SUPERVISOR-ALIVE"] == "warn"


@on_sqlite
def test_a_pipe_gets_one_line_per_finding(supervisor: Place) -> None:
    rows = supervisor("doctor", code=None).rows
    assert {len(row) for row in rows} == {5}
    assert ["ok", "HANDLER-IMPORT", "handlers", "all 4 handlers can be imported", ""] in rows


@on_sqlite
def test_a_terminal_gets_groups_and_fixes(supervisor: Place) -> None:
    _, screen = supervisor.on_a_terminal("doctor", NO_COLOR="1")
    assert "processes\r\n  ! no supervisor is running  [SUPERVISOR-ALIVE]\r\n      fix: supervisor start" in screen


@on_sqlite
def test_a_handler_that_is_not_there_fails(supervisor: Place) -> None:
    supervisor.write("def count(ctx): pass\n", "cli_handlers.py")
    assert levels(supervisor)["HANDLER-IMPORT"] == "fail"


def test_a_module_that_starts_threads_is_named(place: Place) -> None:
    place.write(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\ndef work(ctx): pass\n",
        "busy.py",
    )
    place.write("job_types:\n  work: busy:work\n")
    place("db", "upgrade")
    assert levels(place)["HANDLER-UNFIT"] == "warn"


def test_an_empty_database_fails_with_the_command_that_fills_it(place: Place) -> None:
    place.write(CONFIGURATION.format(database_url="sqlite:///empty.db"))
    rows = {row[1]: row for row in place("doctor", code=1).rows}
    assert rows["DB-SCHEMA"][0] == "fail"
    assert "supervisor db upgrade" in rows["DB-SCHEMA"][4]


def test_an_unreachable_database_is_a_finding(place: Place) -> None:
    place.write("database_url: postgresql://app@127.0.0.1:1/jobs\n")
    assert levels(place)["DB-UNREACHABLE"] == "fail"


def test_waiting_jobs_of_a_type_nobody_serves_are_counted() -> None:
    [finding] = checks.unserved({"thumbnails": 3}, {"count": object()})
    assert finding.level == "warn"
    assert finding.what == "3 jobs of type 'thumbnails' wait: no supervisor serves it"


@pytest.mark.parametrize(("seconds", "level"), [(0, "ok"), (4.9, "ok"), (6, "warn"), (-600, "warn")])
def test_clocks_may_differ_by_five_seconds(seconds: float, level: str) -> None:
    [finding] = checks.clock(NOON, NOON + timedelta(seconds=seconds))
    assert finding.level == level


@pytest.mark.parametrize(
    ("version", "journal", "level"),
    [
        ("3.40.1", "wal", "fail"),
        ("3.51.3", "wal", "ok"),
        ("3.50.7", "wal", "ok"),
        ("3.51.0", "wal", "fail"),
        ("3.40.1", "delete", "ok"),
    ],
)
def test_an_old_library_is_refused_in_wal_mode_only(version: str, journal: str, level: str) -> None:
    found = list(checks.sqlite_library({"library": version, "journal_mode": journal, "synchronous": "2"}))
    assert [each.level for each in found] == [level]


def test_sqlite_that_does_not_write_through_is_said() -> None:
    found = list(checks.sqlite_library({"library": "3.51.3", "journal_mode": "wal", "synchronous": "1"}))
    assert [each.id for each in found if each.level == "warn"] == ["SQLITE-SYNCHRONOUS"]


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_a_server_whose_files_a_crash_may_damage_is_said(setting: str) -> None:
    found = {each.id: each.level for each in checks.postgres_durability({**DURABLE, setting: "off"})}
    said = found.pop(f"PG-{setting.upper().replace('_', '-')}", None)
    assert said == "fail", "nobody says that the database may be lost"
    assert set(found.values()) == {"ok"}


@pytest.mark.parametrize("backend", ["postgresql"])
def test_commits_that_may_be_lost_are_said_with_what_mends_them_where_they_were_made_so(supervisor: Place, backend: str) -> None:
    assert levels(supervisor)["PG-SYNCHRONOUS-COMMIT"] == "ok"
    url = supervisor.database_url
    supervisor.write(CONFIGURATION.format(database_url=f"{url}{'&' if '?' in url else '?'}options=-csynchronous_commit%3Doff"))
    findings = supervisor("doctor", "--json", code=1).json["findings"]
    [finding] = [each for each in findings if each["id"] == "PG-SYNCHRONOUS-COMMIT"]
    assert finding["level"] == "fail", "nobody says that a commit that returned may be lost"
    assert "options of the connection" in finding["what"]
    assert finding["fix"].startswith("Take it out of them")


@pytest.mark.parametrize(("limit", "in_use", "level"), [(100, 10, "ok"), (100, 95, "warn"), (8, 0, "fail")])
def test_the_server_needs_room_for_the_workers(limit: int, in_use: int, level: str) -> None:
    [finding] = checks.postgres_connections(limit, in_use, workers=8)
    assert finding.level == level


def test_a_supervisor_that_fell_silent_is_named() -> None:
    found = {each.id: each.level for each in checks.supervisors({"a pid 1": 2.0, "b pid 2": 300.0}, lock_timeout=30)}
    assert found == {"SUPERVISOR-SILENT": "warn", "SUPERVISOR-ALIVE": "ok"}


def test_a_job_nobody_renews_fails() -> None:
    [finding] = checks.leases([Stale(5, "host-1:abc")])
    assert finding.level == "fail"
    assert "job 5" in finding.what


def test_a_network_file_system_fails() -> None:
    [finding] = checks.file_system("nfs4", "/srv/jobqueue.db")
    assert finding.level == "fail"


def test_a_log_that_a_reader_pins_is_told_with_how_to_find_who_reads() -> None:
    [small] = checks.sqlite_log(64 * 2**20, "jobs.db")
    [large] = checks.sqlite_log(65 * 2**20, "my jobs.db")
    assert (small.level, large.level, large.id) == ("ok", "warn", "SQLITE-LOG")
    assert "65 MiB" in large.what
    assert "fuser -v 'my jobs.db' names" in large.fix


def test_a_transaction_that_keeps_the_server_from_cleaning_up_is_named_with_how_to_end_it() -> None:
    quiet = [*checks.postgres_transactions(None), *checks.postgres_transactions(Transaction(7, "app", "report", 299.0))]
    assert [each.level for each in quiet] == ["ok", "ok"]
    [finding] = checks.postgres_transactions(Transaction(7, "app", "report", 720.0))
    assert (finding.level, finding.id) == ("warn", "PG-OLD-TRANSACTION")
    assert "report" in finding.what
    assert "pg_terminate_backend(7)" in finding.fix
    [prepared] = checks.postgres_transactions(Transaction(None, "app", "prepared transaction x", 720.0))
    assert "ROLLBACK PREPARED" in prepared.fix
