"""Scans of a folder on disk."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select

from apps.indexing import files, rows
from apps.indexing.jobs import full_scan, incremental, specific_folder
from apps.indexing.local import raw, written
from backends import file_texts, indexed_files
from tests.apps.context import Installation
from tests.apps.documents import docx, pdf
from workers import GiveUp


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def write(folder: Path, path: str, content: str | bytes = "text") -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def test_every_kind_of_text_is_read_from_folders_within_folders(installation: Installation, folder: Path) -> None:
    write(folder, "plain.txt", "just text")
    write(folder, "a/readme.md", "# Title")
    write(folder, "a/b/page.html", "<title>Page</title><script>no()</script><p>Hello <b>world</b></p>")
    write(folder, "a/b/table.csv", "a,b\n1,2\n")
    write(folder, "a/b/c/report.pdf", pdf("First page", "Second page"))
    write(folder, "a/b/c/letter.docx", docx("Dear reader", "Yours", header="Letterhead"))
    program = installation.program("local", str(folder))
    said = installation.run(full_scan, program)
    texts = {path: row.content for path, row in installation.files().items()}
    assert texts == {
        "plain.txt": "just text", "a/readme.md": "# Title", "a/b/page.html": "Page\nHello world", "a/b/table.csv": "a,b\n1,2\n",
        "a/b/c/report.pdf": "First page\nSecond page", "a/b/c/letter.docx": "Dear reader\nYours\nLetterhead",
    }
    assert (said["processed"], said["total"], said["successful"], said["failed"]) == (6, 6, 6, 0)
    assert {row.status for row in installation.rows()} == {"indexed"}


def test_unchanged_files_are_not_read_again(
    installation: Installation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(250):
        write(folder, f"{number % 3}/{number}.txt", f"text {number}")
    program = installation.program("local", str(folder))
    installation.run(full_scan, program)
    before = installation.rows()
    monkeypatch.setattr(files, "TemporaryFile", lambda **given: pytest.fail("a file was opened for reading"))
    said = installation.run(incremental, program)
    assert (said["processed"], said["successful"]) == (250, 250)
    assert {row.last_seen_job for row in installation.rows()} == {before[0].last_seen_job + 1}
    assert [(row.id, row.content, row.indexed_at) for row in installation.rows()] == [
        (row.id, row.content, row.indexed_at) for row in before
    ]


def test_a_changed_file_is_read_again_and_a_touched_one_keeps_its_text(installation: Installation, folder: Path) -> None:
    write(folder, "changed.txt", "before")
    write(folder, "touched.txt", "same")
    program = installation.program("local", str(folder))
    installation.run(full_scan, program)
    first = installation.files()
    write(folder, "changed.txt", "afterwards")
    os.utime(folder / "touched.txt", (1, 1))
    installation.run(full_scan, program)
    second = installation.files()
    assert second["changed.txt"].content == "afterwards"
    assert second["changed.txt"].content_hash != first["changed.txt"].content_hash
    assert second["touched.txt"].indexed_at == first["touched.txt"].indexed_at
    assert second["touched.txt"].fingerprint != first["touched.txt"].fingerprint


def test_a_deleted_file_is_marked_removed_without_its_text_and_comes_back(installation: Installation, folder: Path) -> None:
    write(folder, "stays.txt")
    write(folder, "sub/goes.txt", "secret")
    program = installation.program("local", str(folder))
    installation.run(full_scan, program)
    (folder / "sub/goes.txt").unlink()
    (folder / "sub").rmdir()
    assert "1 removed" in installation.run(full_scan, program)["message"]
    row = next(row for row in installation.rows() if row.path == "sub/goes.txt")
    assert (row.status, row.content, row.content_hash) == ("removed", None, None)
    write(folder, "sub/goes.txt", "back")
    installation.run(full_scan, program)
    assert installation.files()["sub/goes.txt"].content == "back"


def test_a_file_that_turns_into_something_without_text_loses_its_text(installation: Installation, folder: Path) -> None:
    write(folder, "file", "text")
    program = installation.program("local", str(folder))
    installation.run(full_scan, program)
    write(folder, "file", b"\x89PNG\r\n\x1a\n")
    installation.run(full_scan, program)
    assert [(row.status, row.content) for row in installation.rows()] == [("skipped", None)]


def test_a_text_goes_when_the_row_of_its_file_is_deleted(installation: Installation, folder: Path) -> None:
    write(folder, "file.txt")
    installation.run(full_scan, installation.program("local", str(folder)))
    with installation.engine.begin() as connection:
        assert connection.scalar(select(func.count()).select_from(file_texts)) == 1
        connection.execute(delete(indexed_files))
        assert connection.scalar(select(func.count()).select_from(file_texts)) == 0


def test_a_bad_file_never_fails_the_job(installation: Installation, folder: Path) -> None:
    write(folder, "good.txt", "good")
    write(folder, "broken.pdf", b"%PDF-1.7\nnot really")
    write(folder, "broken.docx", docx("x")[:-40])
    write(folder, "bomb.docx", docx(prologue='<!DOCTYPE a [<!ENTITY b "c">]>'))
    write(folder, "locked.pdf", pdf("secret", password="password"))
    write(folder, "picture.png", b"\x89PNG\r\n\x1a\n")
    write(folder, "data.bin", b"\0\1\2\3")
    write(folder, "archive.zip", docx("x"))
    os.mkfifo(folder / "pipe.txt")
    program = installation.program("local", str(folder))
    said = installation.run(full_scan, program)
    found = {path: (row.status, row.content) for path, row in installation.files().items()}
    assert found == {
        "good.txt": ("indexed", "good"), "broken.pdf": ("failed", None), "broken.docx": ("failed", None),
        "bomb.docx": ("failed", None), "locked.pdf": ("skipped", None), "picture.png": ("skipped", None),
        "data.bin": ("skipped", None), "archive.zip": ("skipped", None), "pipe.txt": ("skipped", None),
    }
    assert all(row.reason for row in installation.files().values() if row.status != "indexed")
    assert (said["processed"], said["successful"], said["failed"]) == (9, 1, 3)


def test_names_that_no_database_stores_are_kept_apart_and_legible(installation: Installation, folder: Path) -> None:
    names = [b"caf\xe9.txt", b"caf\\xe9.txt", "café.txt".encode(), b"new\nline.txt", b"a'b\"c.txt", b" .txt", "😀.txt".encode()]
    for number, name in enumerate(names):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_text(str(number))
    program = installation.program("local", str(folder))
    installation.run(full_scan, program)
    found = {row.file_id: row.content for row in installation.rows()}
    assert found == {written(name): str(number) for number, name in enumerate(names)}
    assert all(raw(written(name)) == name for name in names)


def test_a_path_too_long_for_an_index_is_indexed_all_the_same(installation: Installation, folder: Path) -> None:
    below = os.open(folder, os.O_RDONLY)
    for _ in range(15):
        os.mkdir("d" * 200, dir_fd=below)
        below, above = os.open("d" * 200, os.O_RDONLY, dir_fd=below), below
        os.close(above)
    for name in ("one.txt", "two.txt"):
        with open(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=below), "w") as file:
            file.write(name)
    os.close(below)
    program = installation.program("local", str(folder))
    installation.run(full_scan, program)
    assert sorted(row.content for row in installation.rows()) == ["one.txt", "two.txt"]


def test_links_are_listed_and_not_followed(installation: Installation, folder: Path, tmp_path: Path) -> None:
    outside = write(tmp_path, "outside/secret.txt", "secret")
    write(folder, "inside.txt", "inside")
    (folder / "to-file.txt").symlink_to(outside)
    (folder / "to-folder").symlink_to(outside.parent)
    (folder / "to-itself").symlink_to(folder)
    program = installation.program("local", str(folder))
    installation.run(full_scan, program)
    statuses = {path: row.status for path, row in installation.files().items()}
    assert statuses == {"inside.txt": "indexed", "to-file.txt": "skipped", "to-folder": "skipped", "to-itself": "skipped"}


@pytest.mark.parametrize("way_out", ["../outside", "/etc", "a/../../outside", "link", r"\x2e\x2e/outside", r"\x2fetc", "\0"])
def test_no_folder_id_leads_out_of_the_folder(
    installation: Installation, folder: Path, tmp_path: Path, way_out: str
) -> None:
    write(tmp_path, "outside/secret.txt", "secret")
    (folder / "link").symlink_to(tmp_path / "outside")
    program = installation.program("local", str(folder))
    ctx = installation.context(program)
    ctx.job = ctx.job._replace(folder_id=way_out)
    with pytest.raises(GiveUp):
        specific_folder(ctx)
    assert installation.rows() == []


def test_a_specific_folder_leaves_the_rest_alone(installation: Installation, folder: Path) -> None:
    for path in ("a/one.txt", "a/deep/two.txt", "ab/three.txt", "four.txt"):
        write(folder, path)
    program = installation.program("local", str(folder))
    installation.run(full_scan, program)
    for path in ("a/one.txt", "a/deep/two.txt", "ab/three.txt", "four.txt"):
        (folder / path).unlink()
    (folder / "a/deep").rmdir()
    write(folder, "a/new.txt")
    write(folder, "ab/new.txt")
    installation.run(specific_folder, program, "a")
    assert sorted(installation.files()) == ["a/new.txt", "ab/three.txt", "four.txt"]
    assert installation.files()["a/new.txt"].parent_id == "a"


def test_a_specific_folder_without_a_folder_is_given_up_with_what_to_do(installation: Installation, folder: Path) -> None:
    program = installation.program("local", str(folder))
    with pytest.raises(GiveUp, match="enqueue it with one, or enqueue a full_scan"):
        installation.run(specific_folder, program)


def test_a_missing_folder_is_given_up_and_removes_nothing(installation: Installation, folder: Path) -> None:
    write(folder, "file.txt")
    program = installation.program("local", str(folder))
    installation.run(full_scan, program)
    (folder / "file.txt").unlink()
    folder.rmdir()
    with pytest.raises(GiveUp, match="there is no such folder"):
        installation.run(full_scan, program)
    assert list(installation.files()) == ["file.txt"]


def test_a_missing_program_is_given_up_with_what_to_do(installation: Installation) -> None:
    with pytest.raises(GiveUp, match="there is no program 77; declare it"):
        installation.run(full_scan, 77)


def test_a_job_told_to_stop_keeps_what_it_did_and_removes_nothing(installation: Installation, folder: Path) -> None:
    write(folder, "old.txt")
    program = installation.program("local", str(folder))
    installation.run(full_scan, program)
    (folder / "old.txt").unlink()
    for number in range(20):
        write(folder, f"{number}.txt")
    asked = count()
    installation.run(full_scan, program, stop=lambda: next(asked) > 12)
    found = installation.files()
    assert "old.txt" in found
    assert 1 < len(found) < 21
    installation.run(full_scan, program)
    assert len(installation.files()) == 20
    assert "old.txt" not in installation.files()


def test_a_job_that_runs_again_sees_what_vanished_since_its_first_attempt(installation: Installation, folder: Path) -> None:
    write(folder, "stays.txt")
    write(folder, "goes.txt")
    program = installation.program("local", str(folder))
    ctx = installation.context(program)
    full_scan(ctx)
    (folder / "goes.txt").unlink()
    ctx.job = ctx.job._replace(lease=2)
    full_scan(ctx)
    assert list(installation.files()) == ["stays.txt"]


def test_an_older_job_does_not_remove_what_a_later_one_saw(installation: Installation, folder: Path) -> None:
    program = installation.program("local", str(folder))
    older = installation.context(program)
    write(folder, "new.txt")
    installation.run(full_scan, program)
    (folder / "new.txt").unlink()
    full_scan(older)
    assert list(installation.files()) == ["new.txt"]


def test_the_total_is_known_before_the_first_file_is_read(installation: Installation, folder: Path) -> None:
    for number in range(5):
        write(folder, f"{number}/{number}.txt")
    ctx = installation.context(installation.program("local", str(folder)))
    full_scan(ctx)
    assert [(each["processed"], each["total"]) for each in ctx.reports[:5]] == [(n, 5) for n in range(1, 6)]


def test_a_file_that_cannot_be_read_is_tried_again_by_the_next_scan(
    installation: Installation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "file.txt", "text")
    program = installation.program("local", str(folder))
    with monkeypatch.context() as patch:
        patch.setattr("apps.indexing.local.os.read", _refuse)
        said = installation.run(full_scan, program)
    assert (said["successful"], said["failed"]) == (0, 1)
    assert installation.files()["file.txt"].reason == "cannot be read: Permission denied"
    installation.run(full_scan, program)
    assert installation.files()["file.txt"].content == "text"


def _refuse(descriptor: int, size: int) -> bytes:
    raise PermissionError(13, "Permission denied")


def test_text_that_postgres_refuses_is_cleaned(installation: Installation, folder: Path) -> None:
    write(folder, "nul.txt", ("x" * 9000 + "\0y").encode())
    write(folder, "old.txt", b"caf\xe9")
    write(folder, "wide.txt", "größer".encode("utf-16"))
    program = installation.program("local", str(folder))
    installation.run(full_scan, program)
    texts = {path: row.content for path, row in installation.files().items()}
    assert texts == {"nul.txt": "x" * 9000 + "y", "old.txt": "café", "wide.txt": "größer"}


def test_programs_are_kept_apart(installation: Installation, folder: Path) -> None:
    write(folder, "file.txt")
    one, two = installation.program("local", str(folder)), installation.program("local", str(folder))
    installation.run(full_scan, one)
    installation.run(full_scan, two)
    (folder / "file.txt").unlink()
    installation.run(full_scan, two)
    assert (len(installation.files(one)), len(installation.files(two))) == (1, 0)


def test_a_file_that_the_database_refuses_is_a_bad_file(
    installation: Installation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.txt", "b.txt", "b.png", "c.png"):
        write(folder, name)
    shown = rows.shown
    monkeypatch.setattr(rows, "shown", lambda entry: shown(entry) | ({"parent_id": b"\xff"} if entry.name[0] == "b" else {}))
    said = installation.run(full_scan, installation.program("local", str(folder)))
    assert {"a.txt", "c.png"} <= set(installation.files())
    assert said["processed"] == 4
