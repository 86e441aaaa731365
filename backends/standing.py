"""Whether a SQLite database is still the file that was opened, and whether the log beside it is its own.

A connection goes on with the file it has, whatever became of its name: what it commits after that, nobody finds. And a log that
stands beside another file than its own would be read as that file's, page by page, and destroy it.
"""

from __future__ import annotations

import os
from contextlib import suppress

Standing = tuple[int, int]
"""Device and inode: what a name stands for."""


def standing(file: str) -> Standing | None:
    """What stands under this name now; None when nothing does."""
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def why_moved(file: str, opened: Standing | None) -> str:
    """Why nothing may be done in a file that was opened as `opened`; empty when it still stands under its name."""
    found = standing(file)
    if found == opened and found is not None:
        return ""
    if found is None:
        return f"{file} was deleted or moved away while it was in use; nothing can be written until it is back"
    return f"another file was put in the place of {file} while it was in use; nothing is written to the old one any more"


def remember_log(file: str, descriptor: int) -> None:
    """Note in the turnstile's file, open as `descriptor`, which log belongs to which database."""
    noted = _pair(file)
    if noted and noted != os.pread(descriptor, 100, 0):
        os.pwrite(descriptor, noted, 0)
        os.ftruncate(descriptor, len(noted))


def why_foreign_log(file: str) -> str:
    """Why the log beside this database must not be read; empty when it may be. Inodes alone: devices change with a reboot."""
    with suppress(OSError, ValueError), open(f"{file}.turnstile", "rb") as note:
        database, log = map(int, note.read(100).split())
        here, beside = standing(file), standing(f"{file}-wal")
        if beside is not None and beside[1] == log and (here is None or here[1] != database):
            return (
                f"{file}-wal is the write-ahead log of another file, which stood here before; to go on with what stands here now,"
                f" delete {file}-wal and {file}-shm"
            )
    return ""


def _pair(file: str) -> bytes:
    here, log = standing(file), standing(f"{file}-wal")
    return f"{here[1]} {log[1]}".encode() if here and log else b""
