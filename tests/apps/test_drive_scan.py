"""Scans of Google Drive, against a real HTTP server."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from apps.indexing.drive import calls
from apps.indexing.jobs import full_scan, incremental, specific_folder
from tests import drive as fake
from tests.apps.context import Installation
from tests.apps.documents import pdf
from tests.drive import DriveServer, Rule
from workers import GiveUp, RetryLater


@pytest.fixture(autouse=True)
def credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIVE_TOKEN", "token-of-alice")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience for tests: the same attempts, shorter pauses."""
    usual = calls.Patience
    monkeypatch.setattr(calls, "Patience", lambda: usual(first=0.002, longest=0.01, waits=2.0, timeout=2.0))


@pytest.fixture
def program(installation: Installation, server: DriveServer) -> int:
    """All of My Drive on the server."""
    return program_on(installation, server)


def program_on(installation: Installation, server: DriveServer, folder: str | None = None, **settings: Any) -> int:
    return installation.program(
        "google_drive", folder, {"access_token_env": "DRIVE_TOKEN", "endpoint": server.url, **settings}
    )


def texts(installation: Installation) -> dict[str, str | None]:
    return {path: row.content for path, row in installation.files().items()}


def test_files_documents_and_sheets_are_read_from_folders_within_folders(
    installation: Installation, server: DriveServer, program: int
) -> None:
    drive = server.drive
    deep = drive.folder("deep", drive.folder("top"))
    drive.file("plain.txt", "plain")
    drive.file("report.pdf", pdf("A page"), deep, "application/pdf")
    drive.file("Minutes", "\ufeffWe met.", deep, fake.DOCUMENT)
    drive.file("Budget", "a,b\n", deep, fake.SHEET)
    drive.file("Survey", "", deep, fake.FORM)
    said = installation.run(full_scan, program)
    assert texts(installation) == {
        "plain.txt": "plain", "top/deep/report.pdf": "A page", "top/deep/Minutes": "We met.", "top/deep/Budget": "a,b\n",
        "top/deep/Survey": None,
    }
    assert installation.files()["top/deep/Budget"].reason == "only the first sheet is indexed"
    assert installation.files()["top/deep/Survey"].status == "skipped"
    assert (said["processed"], said["total"], said["successful"], said["failed"]) == (5, 5, 4, 0)


def test_two_files_of_one_name_in_one_folder_are_two_files(installation: Installation, server: DriveServer, program: int) -> None:
    for content in ("one", "two"):
        server.drive.file("a/b\n..\\'", content)
    installation.run(full_scan, program)
    assert sorted(row.content for row in installation.rows()) == ["one", "two"]


def test_a_folder_of_several_pages_is_read_to_its_end(installation: Installation, server: DriveServer, program: int) -> None:
    for number in range(1203):
        server.drive.file(f"{number}.png", b"", mime_type="image/png")
    said = installation.run(full_scan, program)
    assert said["processed"] == 1203
    assert len(server.asked("files.list")) == 2


def test_unchanged_files_are_not_fetched_again(installation: Installation, server: DriveServer, program: int) -> None:
    changed = server.drive.file("changed.txt", "before")
    server.drive.file("same.txt", "same")
    document = server.drive.file("Document", "words", mime_type=fake.DOCUMENT)
    installation.run(full_scan, program)
    server.log.clear()
    server.drive.write(changed, "afterwards")
    server.drive.set(document, version=99)
    installation.run(full_scan, program)
    assert [asked.id for asked in server.asked("files.media")] == [changed]
    assert server.asked("files.export") == []
    assert texts(installation)["changed.txt"] == "afterwards"


def test_a_cycle_of_shortcuts_ends_and_shortcuts_to_files_are_read(
    installation: Installation, server: DriveServer, program: int
) -> None:
    drive = server.drive
    inner = drive.folder("inner", drive.folder("outer"))
    drive.shortcut("up", drive.root(), inner)
    drive.shortcut("again", inner)
    target = drive.file("target.txt", "target", inner)
    drive.shortcut("to target.txt", target)
    gone = drive.file("gone.txt")
    drive.shortcut("dangling", gone)
    drive.delete(gone)
    installation.run(full_scan, program)
    found = installation.files()
    assert {row.content for row in found.values()} == {"target", None}
    assert found["to target.txt"].content == "target"
    assert found["dangling"].status == "skipped"
    assert len(found) == 3


def test_a_shared_drive_is_read_with_all_that_it_needs(installation: Installation, server: DriveServer) -> None:
    drive_id = server.drive.shared_drive("Team")
    server.drive.file("team.txt", "team", server.drive.folder("folder", drive_id))
    program = program_on(installation, server, drive_id)
    installation.run(full_scan, program)
    assert texts(installation) == {"folder/team.txt": "team"}
    server.drive.file("more.txt", "more", drive_id)
    installation.run(incremental, program)
    assert texts(installation) == {"folder/team.txt": "team", "more.txt": "more"}


def test_trash_is_left_out_unless_it_is_wanted(installation: Installation, server: DriveServer, program: int) -> None:
    server.drive.trash(server.drive.file("old.txt", "old"))
    installation.run(full_scan, program)
    assert texts(installation) == {}
    installation.run(full_scan, program, parameters={"include_trashed": True})
    assert installation.files()["old.txt"].trashed is True
    installation.run(full_scan, program)
    assert texts(installation) == {}


def test_a_specific_folder_leaves_the_rest_alone(installation: Installation, server: DriveServer, program: int) -> None:
    drive = server.drive
    one, twin, other = drive.folder("one"), drive.folder("one"), drive.folder("other")
    vanishing = drive.folder("vanishing", one)
    for parent in (one, twin, other, vanishing):
        drive.file(f"in {parent}.txt", "text", parent, id=f"in-{parent}")
    installation.run(full_scan, program)
    for parent in (one, twin, other):
        drive.delete(f"in-{parent}")
    drive.delete(vanishing)
    drive.file("new.txt", "new", one)
    installation.run(specific_folder, program, one)
    assert sorted(texts(installation)) == sorted(["one/new.txt", f"one/in {twin}.txt", f"other/in {other}.txt"])


def test_a_folder_outside_of_the_programs_folder_is_refused(installation: Installation, server: DriveServer) -> None:
    program = program_on(installation, server, server.drive.folder("mine"))
    with pytest.raises(GiveUp, match="lies outside"):
        installation.run(specific_folder, program, server.drive.folder("other"))


def test_what_may_not_be_read_is_kept_with_the_reason(installation: Installation, server: DriveServer, program: int) -> None:
    drive = server.drive
    drive.file("locked.txt", "x", can_download=False)
    drive.file("evil.txt", "x", abusive=True)
    drive.file("Huge", b"x" * (10 * 1024 * 1024 + 1), mime_type=fake.DOCUMENT)
    drive.file("fine.txt", "fine")
    said = installation.run(full_scan, program)
    found = installation.files()
    assert {path: row.status for path, row in found.items()} == {
        "locked.txt": "skipped", "evil.txt": "skipped", "Huge": "skipped", "fine.txt": "indexed",
    }
    assert "malware" in found["evil.txt"].reason
    assert "does not export" in found["Huge"].reason
    assert said["failed"] == 0


# Refusals


PASSING = [
    fake.rate_limited("0"), fake.rate_limited(), fake.rate_limited(status=403), fake.forbidden("userRateLimitExceeded"),
    fake.forbidden_new_style("RATE_LIMIT_EXCEEDED"), fake.refused(500), fake.refused(503), fake.dropped(),
    fake.truncated(1), fake.Fault(502, b"<html>Bad gateway"), fake.Fault(403, b"<html>Rate Limit Exceeded"),
]
IN_JSON = [(fake.broken_json(), "files.list"), (fake.broken_json(), "files.get")]


@pytest.mark.parametrize(
    ("fault", "route"), [*product(PASSING, ["files.list", "files.get", "files.media"]), *IN_JSON]
)
def test_a_passing_trouble_passes(
    sqlite_installation: Installation, server: DriveServer, fault: fake.Fault, route: str
) -> None:
    server.drive.file("file.txt", "text")
    server.rules.append(Rule(fault, route, times=2))
    sqlite_installation.run(full_scan, program_on(sqlite_installation, server))
    assert texts(sqlite_installation) == {"file.txt": "text"}


def test_a_long_pause_gives_the_job_back_unspent(installation: Installation, server: DriveServer, program: int) -> None:
    server.drive.file("file.txt", "text")
    server.rules.append(Rule(fake.rate_limited("120"), "files.media"))
    with pytest.raises(RetryLater) as raised:
        installation.run(full_scan, program)
    assert raised.value.after == 120


def test_a_limit_without_an_end_gives_the_job_back_unspent(
    installation: Installation, server: DriveServer, program: int
) -> None:
    server.rules.append(Rule(fake.rate_limited(), "files.list", times=1000))
    with pytest.raises(RetryLater) as raised:
        installation.run(full_scan, program)
    assert raised.value.after >= 60


def test_a_refused_token_is_given_up_and_nowhere_to_be_read(
    installation: Installation, server: DriveServer, program: int, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DRIVE_TOKEN", "expired-token-5317")
    with pytest.raises(GiveUp) as raised:
        installation.run(full_scan, program)
    assert "DRIVE_TOKEN" in str(raised.value)
    assert "expired" in str(raised.value)
    said = capfd.readouterr()
    assert "5317" not in str(raised.value) + said.out + said.err


def test_a_token_that_was_renewed_meanwhile_is_used(
    installation: Installation, server: DriveServer, program: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.drive.file("file.txt", "text")

    def expire(answer: dict[str, Any]) -> dict[str, Any]:
        server.tokens.clear()
        server.tokens["new-token"] = "alice"
        monkeypatch.setenv("DRIVE_TOKEN", "new-token")
        return answer

    server.rules.append(Rule(fake.Fault(change=expire), "files.list"))
    installation.run(full_scan, program)
    assert texts(installation) == {"file.txt": "text"}


def test_no_credential_is_given_up_with_what_to_do(
    installation: Installation, server: DriveServer, program: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DRIVE_TOKEN")
    with pytest.raises(GiveUp, match="DRIVE_TOKEN is not set"):
        installation.run(full_scan, program)
    unnamed = installation.program("google_drive", None, {"endpoint": server.url})
    with pytest.raises(GiveUp, match="access_token_env: NAME"):
        installation.run(full_scan, unnamed)


@pytest.mark.parametrize("reason", ["accessNotConfigured", "insufficientPermissions", "dailyLimitExceeded"])
def test_what_only_an_administrator_can_mend_is_given_up(
    installation: Installation, server: DriveServer, program: int, reason: str
) -> None:
    server.rules.append(Rule(fake.forbidden(reason), "files.list"))
    with pytest.raises(GiveUp, match=reason):
        installation.run(full_scan, program)


def test_a_missing_root_is_given_up_with_what_to_do(installation: Installation, server: DriveServer) -> None:
    program = program_on(installation, server, "nowhere")
    with pytest.raises(GiveUp, match="share it with the account"):
        installation.run(full_scan, program)


# Nothing is removed without proof


@pytest.mark.parametrize(
    "fault", [fake.forbidden("insufficientFilePermissions"), fake.refused(404, "notFound"), fake.refused(500)]
)
def test_files_of_a_folder_that_cannot_be_listed_are_not_removed(
    installation: Installation, server: DriveServer, program: int, fault: fake.Fault
) -> None:
    server.drive.file("kept.txt", "kept", server.drive.folder("folder"))
    goes = server.drive.file("goes.txt")
    installation.run(full_scan, program)
    server.drive.delete(goes)
    server.rules.append(Rule(fault, "files.list", nth=2, times=5))
    said = installation.run(full_scan, program)
    assert sorted(texts(installation)) == ["folder/kept.txt", "goes.txt"]
    assert "not everything could be listed" in said["message"]


@pytest.mark.parametrize("fault", [fake.incomplete(), fake.repeated_token()])
def test_a_list_that_is_not_complete_removes_nothing(
    installation: Installation, server: DriveServer, program: int, fault: fake.Fault
) -> None:
    goes = server.drive.file("goes.txt")
    server.drive.file("stays.txt")
    installation.run(full_scan, program)
    server.drive.delete(goes)
    server.rules.append(Rule(fault, "files.list", times=1000))
    installation.run(full_scan, program)
    assert sorted(texts(installation)) == ["goes.txt", "stays.txt"]


def test_an_expired_page_token_lists_the_folder_from_its_start(
    installation: Installation, server: DriveServer, program: int
) -> None:
    for number in range(1001):
        server.drive.file(f"{number}.png", b"", mime_type="image/png")
    server.rules.append(Rule(fake.refused(400, "invalid"), "files.list", nth=2))
    said = installation.run(full_scan, program)
    assert (said["processed"], len(installation.files())) == (1001, 1001)
    assert "not everything" not in said["message"]


# Content


def test_a_broken_download_goes_on_where_it_broke(installation: Installation, server: DriveServer, program: int) -> None:
    server.drive.file("big.txt", "0123456789" * 1000)
    server.rules.append(Rule(fake.truncated(4000), "files.media"))
    installation.run(full_scan, program)
    assert texts(installation) == {"big.txt": "0123456789" * 1000}
    assert [asked.range for asked in server.asked("files.media")] == [None, "bytes=4000-"]


def test_a_server_that_ignores_ranges_is_read_from_the_start(
    installation: Installation, server: DriveServer, program: int
) -> None:
    server.drive.file("big.txt", "0123456789" * 1000)
    server.rules.append(Rule(fake.truncated(4000), "files.media"))
    server.rules.append(Rule(fake.Fault(ignore_range=True), "files.media"))
    installation.run(full_scan, program)
    assert texts(installation) == {"big.txt": "0123456789" * 1000}


def test_content_that_changes_while_it_is_read_is_not_mixed(
    installation: Installation, server: DriveServer, program: int
) -> None:
    file_id = server.drive.file("file.txt", "a" * 1000)

    def replace(content: bytes) -> bytes:
        server.drive.write(file_id, "b" * 1000)
        return content

    server.rules.append(Rule(fake.Fault(spoil=replace, only=400), "files.media"))
    installation.run(full_scan, program)
    assert texts(installation) == {"file.txt": "b" * 1000}


def test_content_that_is_not_what_its_checksum_says_is_a_failure_of_that_file(
    installation: Installation, server: DriveServer, program: int
) -> None:
    server.drive.file("bad.txt", "honest", id="bad")
    server.drive.file("good.txt", "good")
    server.rules.append(Rule(fake.Fault(spoil=lambda content: b"forged"), "files.media", id="bad", times=9))
    said = installation.run(full_scan, program)
    assert texts(installation) == {"bad.txt": None, "good.txt": "good"}
    assert (said["successful"], said["failed"]) == (1, 1)


def test_a_file_deleted_between_list_and_download_is_no_failure(
    installation: Installation, server: DriveServer, program: int
) -> None:
    server.drive.file("gone.txt", "x", id="gone")
    server.rules.append(Rule(fake.refused(404, "notFound"), "files.media", id="gone"))
    said = installation.run(full_scan, program)
    assert (said["processed"], said["failed"], texts(installation)) == (1, 0, {})


def test_many_files_in_a_row_that_cannot_be_had_give_the_job_back(
    installation: Installation, server: DriveServer, program: int
) -> None:
    for number in range(25):
        server.drive.file(f"{number}.txt", f"text {number}")
    server.rules.append(Rule(fake.refused(500), "files.media", times=10_000))
    with pytest.raises(RetryLater, match="20 files in a row"):
        installation.run(full_scan, program)
    assert {row.status for row in installation.rows()} == {"failed"}


def test_a_job_told_to_stop_does_not_wait_for_a_hanging_server(
    installation: Installation, server: DriveServer, program: int
) -> None:
    server.rules.append(Rule(fake.refused(503, "backendError", **{"retry-after": "1.5"}), "files.list", times=100))
    installation.run(full_scan, program, stop=lambda: bool(server.asked("files.list")))
    assert len(server.asked("files.list")) == 1
