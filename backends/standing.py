"""Whether a SQLite database is still the file that was opened, and whether the log beside it is its own.

A connection goes on with the file it has, whatever became of its name: what it commits after that, nobody finds. And a log that
stands beside another file than its own would be read as that file's, page by page, and destroy it.
"""

from __future__ import annotations

import os
from contextlib import suppress

from .job import DatabaseUnavailable

Standing = tuple[int, int]
"""Device and inode: what a name stands for."""


def standing(file: str) -> Standing | None:
    """What stands under this name now; None when nothing does. Raises `DatabaseUnavailable` when nobody can tell."""
    try:
        found = os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DatabaseUnavailable(f"cannot look at {file}: {error.strerror}") from error
    return found.st_dev, found.st_ino


def why_moved(file: str, opened: Standing | None) -> str:
    """Why nothing may be done in a file that was opened as `opened`; empty when it still stands under its name."""
    found = standing(file)
    if found == opened and found is not None:
        return ""
    if found is None:
        return f"{file} was deleted or moved away while it was in use; nothing can be written until it is back"
    return f"another file was put in the place of {file} while it was in use; nothing is written to the old one any more"


def remember_log(file: str, opened: Standing | None, descriptor: int) -> None:
    """Note in the turnstile's file, open as `descriptor`, that the log beside belongs to the database that was opened."""
    log = standing(f"{file}-wal")
    noted = f"{opened[1]} {log[1]}".encode() if opened and log else b""
    if noted and noted != os.pread(descriptor, 100, 0):
        os.pwrite(descriptor, noted, 0)
        os.ftruncate(descriptor, len(noted))


def why_foreign_log(file: str) -> str:
    """Why the log beside this database must not be read; empty when it may be. Inodes alone: devices change with a reboot."""
    with suppress(OSError, ValueError), open(f"{file}.turnstile", "rb") as note:
        database, log = map(int, note.read(100).split())
        here, beside = standing(file), standing(f"{file}-wal")
        if beside is None or beside[1] != log:
            return ""
        if here is None:
            return (
                f"{file} was deleted or moved away, and {file}-wal, which holds its latest commits, was left behind;"
                f" put {file} back beside it, and delete neither"
            )
        if here[1] != database:
            return (
                f"{file}-wal is the write-ahead log of another file, which stood here before; to go on with what stands here now,"
                f" end every program that has it open, and move {file}-wal and {file}-shm away"
            )
    return ""
