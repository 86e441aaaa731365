"""Files in a folder on disk.

Nothing outside the folder is ever opened: each path is opened step by step from the folder's own descriptor, and no step
may be a symbolic link. Links are listed and not followed, so there are no cycles.
"""

from __future__ import annotations

import errno
import hashlib
import mimetypes
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from .source import (
    ChangePage,
    CursorExpired,
    Entry,
    FileGone,
    FileSkipped,
    FileUnavailable,
    FolderGone,
    FolderUnavailable,
    Page,
    ShouldStop,
    SourceUnusable,
    Stopped,
)

FOLDER = "inode/directory"
ROOT_ID = "."
PAGE = 1000
BLOCK = 1 << 20
LONGEST_ID = 1000
"""Bytes of a path that serve as its file id; Postgres cannot index more than 2,704 bytes."""

_TYPES = mimetypes.MimeTypes(filenames=())
_MORE_TYPES = {".md": "text/markdown", ".markdown": "text/markdown", ".yaml": "text/yaml", ".yml": "text/yaml"}
_GONE = (errno.ENOENT, errno.ENOTDIR)


class LocalSource:
    """A folder on this host, as the user of the worker may read it. `largest` is the size in bytes up to which files are read."""

    cheap_to_list = True

    def __init__(self, folder: str | Path, largest: int = 100_000_000) -> None:
        self._folder, self._largest = Path(folder), largest
        self._listing: _Listing | None = None

    def root(self, folder_id: str | None) -> Entry:
        """The folder itself, or the one at the relative path `folder_id` below it."""
        path = "" if folder_id is None else self._checked(folder_id)
        shown = self._folder if not path else self._folder / path
        try:
            with self._open(path, os.O_DIRECTORY):
                return _folder_entry(path)
        except OSError as error:
            raise SourceUnusable(_no_root(shown, error)) from None

    def _checked(self, folder_id: str) -> str:
        steps = [step for step in folder_id.split("/") if step not in ("", ".")]
        if folder_id.startswith("/") or ".." in steps:
            raise SourceUnusable(
                f"folder_id {folder_id!r} leads out of {self._folder}; give a path relative to that folder, without '..'"
            )
        return "/".join(steps)

    def children(self, folder: Entry, page: str | None) -> Page:
        """At most `PAGE` entries, in the order of the disk."""
        try:
            found = self._listing_of(folder, page).take()
        except OSError as error:
            raise _of_folder(error, folder.path or str(self._folder)) from None
        entries = (_entry(folder, each) for each in found)
        return Page(tuple(entry for entry in entries if entry), "more" if len(found) == PAGE else None)

    def _listing_of(self, folder: Entry, page: str | None) -> _Listing:
        if page is None:
            self.close()
            with self._open(folder.path, os.O_DIRECTORY) as descriptor:
                self._listing = _Listing(folder.path, os.dup(descriptor))
        if self._listing is None or self._listing.path != folder.path:
            raise FolderUnavailable(f"{folder.path or self._folder}: its list was not read to the end")
        return self._listing

    def fetch(self, entry: Entry, into: BinaryIO, should_stop: ShouldStop) -> str:
        """Copy the file; refuses what is not a regular file by now, and what grew past the limit."""
        try:
            with self._open(entry.path, os.O_NONBLOCK) as descriptor:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise FileSkipped("not a regular file")
                self._copy(descriptor, into, should_stop)
        except OSError as error:
            raise _of_file(error) from None
        return entry.mime_type

    def _copy(self, descriptor: int, into: BinaryIO, should_stop: ShouldStop) -> None:
        copied = 0
        while block := os.read(descriptor, BLOCK):
            if should_stop():
                raise Stopped
            copied += len(block)
            if copied > self._largest:
                raise FileSkipped(f"larger than {self._largest:,} bytes")
            into.write(block)

    def exists(self, folder_id: str) -> bool:
        """Whether there is a folder at this path; True when it cannot be told."""
        try:
            with self._open("" if folder_id == ROOT_ID else folder_id, os.O_DIRECTORY):
                return True
        except OSError as error:
            return error.errno not in (*_GONE, errno.ELOOP)

    def lookup(self, file_id: str) -> Entry | None:
        """None always: an incremental scan of a disk is a walk, and asks for no single file."""
        return None

    def start_cursor(self, root: Entry) -> str | None:
        """None: a disk keeps no list of changes."""
        return None

    def changes(self, root: Entry, cursor: str) -> ChangePage:
        """Raises `CursorExpired` always: a disk keeps no list of changes."""
        raise CursorExpired("a folder on disk keeps no list of changes")

    def close(self) -> None:
        """Let go of the folder that was being listed."""
        if self._listing is not None:
            self._listing.close()
            self._listing = None

    @contextmanager
    def _open(self, path: str, flags: int) -> Iterator[int]:
        """A descriptor for reading what is at `path` below the folder, reached without following a link."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            steps = path.split("/") if path else []
            for number, step in enumerate(steps, 1):
                last = flags if number == len(steps) else os.O_DIRECTORY
                below = os.open(_one_step(step), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | last, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)


def written(name: bytes) -> str:
    r"""A file name as text that any database stores: UTF-8, a backslash doubled, other bytes as `\xNN`. `raw` undoes it."""
    return name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def raw(text: str) -> bytes:
    """The bytes of a file name that `written` made text of."""
    parts = re.split(rb"\\(\\|x[0-9a-f]{2})", text.encode("utf-8", "surrogatepass"))
    for index in range(1, len(parts), 2):
        parts[index] = b"\\" if parts[index] == b"\\" else bytes.fromhex(parts[index][1:].decode())
    return b"".join(parts)


def _one_step(text: str) -> bytes:
    """A step of a path as bytes; an escape may not spell a way out."""
    step = raw(text)
    if step in (b"", b".", b"..") or b"/" in step or b"\0" in step:
        raise OSError(errno.ENOENT, "no such file")
    return step


class _Listing:
    """A folder being listed. Entries are looked at through its descriptor, which must stay open for them."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor
        self._found = os.scandir(descriptor)

    def take(self) -> list[os.DirEntry[str]]:
        return list(islice(self._found, PAGE))

    def close(self) -> None:
        self._found.close()
        os.close(self._descriptor)


def _entry(folder: Entry, found: os.DirEntry[str]) -> Entry | None:
    name = written(os.fsencode(found.name))
    path = f"{folder.path}/{name}" if folder.path else name
    try:
        facts = found.stat(follow_symlinks=False)
    except OSError as error:
        if error.errno in _GONE:
            return None
        return _unreadable(folder, name, path, error)
    if stat.S_ISDIR(facts.st_mode):
        return _folder_entry(path, folder.file_id, name)
    return _file_entry(folder, name, path, facts)


def _file_id(path: str) -> str:
    encoded = path.encode()
    if len(encoded) <= LONGEST_ID:
        return path
    return encoded[: LONGEST_ID - 80].decode("utf-8", "ignore") + "#sha256:" + hashlib.sha256(encoded).hexdigest()


def _folder_entry(path: str, parent_id: str | None = None, name: str = "") -> Entry:
    return Entry(_file_id(path) or ROOT_ID, parent_id, name or path.rpartition("/")[2], path, FOLDER, is_folder=True)


def _file_entry(folder: Entry, name: str, path: str, facts: os.stat_result) -> Entry:
    return Entry(
        _file_id(path),
        folder.file_id,
        name,
        path,
        _media_type(name),
        size=facts.st_size,
        modified_at=_moment(facts.st_mtime),
        fingerprint=f"{facts.st_size}-{facts.st_mtime_ns}-{facts.st_ino}",
        skip_reason=_skip_reason(facts.st_mode),
    )


def _media_type(name: str) -> str:
    suffix = os.path.splitext(name)[1].lower()
    return _MORE_TYPES.get(suffix) or _TYPES.guess_type("name" + suffix)[0] or "application/octet-stream"


def _moment(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _skip_reason(mode: int) -> str | None:
    if stat.S_ISLNK(mode):
        return "a symbolic link, which is not followed; what it points to is indexed where it lies, if inside the folder"
    return None if stat.S_ISREG(mode) else "not a regular file"


def _unreadable(folder: Entry, name: str, path: str, error: OSError) -> Entry:
    reason = f"cannot be looked at: {error.strerror}"
    return Entry(_file_id(path), folder.file_id, name, path, _media_type(name), skip_reason=reason)


def _of_file(error: OSError) -> FileGone | FileSkipped | FileUnavailable:
    if error.errno in _GONE:
        return FileGone("deleted while the folder was scanned")
    if error.errno == errno.ELOOP:
        return FileSkipped("a symbolic link, which is not followed")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE):
        return FileUnavailable(f"this host cannot read it now: {error.strerror}", remote=True)
    return FileUnavailable(f"cannot be read: {error.strerror}")


def _of_folder(error: OSError, shown: str) -> FolderGone | FolderUnavailable:
    if error.errno in (*_GONE, errno.ELOOP):
        return FolderGone(f"{shown}: deleted while it was scanned")
    return FolderUnavailable(f"{shown}: cannot be listed: {error.strerror}")


def _no_root(shown: Path, error: OSError) -> str:
    cause = {
        errno.ENOENT: "there is no such folder",
        errno.ENOTDIR: "it is not a folder, or a step to it is a symbolic link",
        errno.EACCES: "the user that runs the worker may not read it",
        errno.ELOOP: "a step to it is a symbolic link, which is not followed",
    }.get(error.errno or 0, error.strerror)
    return f"cannot index {shown}: {cause}; create it, or correct the program's folder or the job's folder_id"
