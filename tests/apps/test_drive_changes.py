"""Incremental scans of Google Drive: its list of changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from apps.indexing.jobs import full_scan, incremental
from backends import drive_cursors
from tests import drive as fake
from tests.apps.context import Installation
from tests.apps.test_drive_scan import credential, program, program_on, quick, texts
from tests.drive import Drive, DriveServer, Rule

__all__ = ["credential", "program", "quick"]


def tokens(installation: Installation) -> tuple[str | None, str | None]:
    with installation.engine.connect() as connection:
        row = connection.execute(select(drive_cursors.c.token, drive_cursors.c.pending_token)).one()
    return row.token, row.pending_token


def test_without_a_cursor_it_is_a_full_scan(installation: Installation, server: DriveServer, program: int) -> None:
    server.drive.file("file.txt", "text")
    installation.run(incremental, program)
    assert texts(installation) == {"file.txt": "text"}
    assert tokens(installation)[0]
    assert tokens(installation)[1] is None


def test_only_what_changed_is_asked_for(installation: Installation, server: DriveServer, program: int) -> None:
    folder = server.drive.folder("folder")
    changed, gone = server.drive.file("changed.txt", "before", folder), server.drive.file("gone.txt", "gone", folder)
    server.drive.file("same.txt", "same")
    installation.run(full_scan, program)
    server.log.clear()
    server.drive.write(changed, "afterwards")
    server.drive.file("new.txt", "new", folder)
    server.drive.delete(gone)
    said = installation.run(incremental, program)
    assert texts(installation) == {"folder/changed.txt": "afterwards", "folder/new.txt": "new", "same.txt": "same"}
    assert (said["processed"], server.asked("files.list")) == (2, [])


def test_a_second_run_without_changes_reads_one_page(installation: Installation, server: DriveServer, program: int) -> None:
    server.drive.file("file.txt")
    installation.run(full_scan, program)
    installation.run(incremental, program)
    server.log.clear()
    installation.run(incremental, program)
    assert [asked.route for asked in server.log] == ["files.get", "changes.list"]


@pytest.mark.parametrize("change", [
    lambda drive, folder, other: drive.rename(folder, "renamed"),
    lambda drive, folder, other: drive.move(folder, other),
    lambda drive, folder, other: drive.trash(folder),
    lambda drive, folder, other: drive.delete(folder),
], ids=["renamed", "moved", "trashed", "deleted"])  # fmt: skip
def test_a_folder_takes_along_what_is_below_it(
    installation: Installation, server: DriveServer, program: int, change: Callable[[Drive, str, str], None]
) -> None:
    drive = server.drive
    folder, other = drive.folder("folder"), drive.folder("other")
    drive.file("direct.txt", "direct", folder)
    drive.file("deep.txt", "deep", drive.folder("inner", folder))
    installation.run(full_scan, program)
    change(drive, folder, other)
    installation.run(incremental, program)
    found = texts(installation)
    fresh = installation.program("google_drive", None, {"access_token_env": "DRIVE_TOKEN", "endpoint": server.url})
    installation.run(full_scan, fresh)
    assert found == {path: row.content for path, row in installation.files(fresh).items()}


def test_what_leaves_the_programs_folder_is_removed_and_what_comes_is_read(
    installation: Installation, server: DriveServer
) -> None:
    drive = server.drive
    mine, other = drive.folder("mine"), drive.folder("other")
    leaves, comes = drive.file("leaves.txt", "leaves", mine), drive.file("comes.txt", "comes", other)
    whole = drive.folder("whole", other)
    drive.file("inside.txt", "inside", whole)
    program = program_on(installation, server, mine)
    installation.run(full_scan, program)
    drive.move(leaves, other)
    drive.move(comes, mine)
    drive.move(whole, mine)
    installation.run(incremental, program)
    assert texts(installation) == {"comes.txt": "comes", "whole/inside.txt": "inside"}


def test_a_file_in_the_trash_is_removed_and_comes_back(installation: Installation, server: DriveServer, program: int) -> None:
    file_id = server.drive.file("file.txt", "text")
    installation.run(full_scan, program)
    server.drive.trash(file_id)
    installation.run(incremental, program)
    assert texts(installation) == {}
    server.drive.trash(file_id, False)
    installation.run(incremental, program)
    assert texts(installation) == {"file.txt": "text"}


@pytest.mark.parametrize("fault", [fake.refused(400, "invalid"), fake.refused(404, "notFound"), fake.refused(410, "gone")])
def test_a_cursor_that_is_not_accepted_makes_it_a_full_scan(
    installation: Installation, server: DriveServer, program: int, fault: fake.Fault
) -> None:
    installation.run(full_scan, program)
    before = tokens(installation)
    server.drive.file("file.txt", "text")
    server.rules.append(Rule(fault, "changes.list"))
    installation.run(incremental, program)
    assert texts(installation) == {"file.txt": "text"}
    assert tokens(installation)[0] not in (None, before[0])


def test_an_incomplete_full_scan_leaves_its_cursor_parked(installation: Installation, server: DriveServer, program: int) -> None:
    server.rules.append(Rule(fake.incomplete(), "files.list"))
    installation.run(full_scan, program)
    assert tokens(installation)[0] is None
    assert tokens(installation)[1]


def test_a_job_told_to_stop_does_not_lose_changes(installation: Installation, server: DriveServer, program: int) -> None:
    installation.run(full_scan, program)
    for number in range(6):
        server.drive.file(f"{number}.txt", f"text {number}")
    installation.run(incremental, program, stop=lambda: len(server.asked("files.media")) >= 3)
    assert 0 < len(installation.files()) < 6
    installation.run(incremental, program)
    assert len(installation.files()) == 6


def test_a_file_that_could_not_be_had_is_tried_again_without_a_change(
    installation: Installation, server: DriveServer, program: int
) -> None:
    server.drive.file("file.txt", "text")
    server.rules.append(Rule(fake.refused(500), "files.media", times=5))
    installation.run(full_scan, program)
    assert installation.files()["file.txt"].status == "failed"
    installation.run(incremental, program)
    assert texts(installation) == {"file.txt": "text"}


def test_a_failed_folder_keeps_the_cursor_where_it_is(installation: Installation, server: DriveServer, program: int) -> None:
    installation.run(full_scan, program)
    folder = server.drive.folder("folder")
    server.drive.file("file.txt", "text", folder)
    installation.run(incremental, program)
    server.drive.rename(folder, "renamed")
    before = tokens(installation)
    server.rules.append(Rule(fake.refused(500), "files.list", times=5))
    installation.run(incremental, program)
    assert tokens(installation) == before
    installation.run(incremental, program)
    assert texts(installation) == {"renamed/file.txt": "text"}
