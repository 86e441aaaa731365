"""Audit hooks for processes under test: what they may never do with a SQLite database, however it comes about."""

from __future__ import annotations

import os
import re
import sys

_DATABASE = re.compile(r"\.db(-wal|-shm|-journal)?$")


def forbid_opening_databases() -> None:
    """From now on this process, and what it forks, fails when it opens a SQLite file, its log or its shared memory by itself.

    Closing such a file would drop all locks that SQLite holds on it in this process (sqlite.org/howtocorrupt.html, section 2.2).
    To make a file that does not exist yet is no harm. SQLite's own library is not seen by these hooks.
    """
    sys.addaudithook(_forbid)


def _forbid(event: str, arguments: tuple[object, ...]) -> None:
    if event != "open":
        return
    path, _, flags = arguments
    makes_it = isinstance(flags, int) and flags & os.O_EXCL
    if isinstance(path, str | bytes) and _DATABASE.search(os.fsdecode(path)) and not makes_it:
        raise AssertionError(f"{os.fsdecode(path)} was opened by process {os.getpid()} itself: closing it drops SQLite's locks")
