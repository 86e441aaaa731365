"""What the benchmarks' jobs do. Every start is noted in a file of its process, so that a second start shows."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from workers import JobContext

STARTS = "BENCHMARK_STARTS"
"""The environment variable that names the folder of the notes."""

_RECORD = struct.Struct("<qqqq")


class Start(NamedTuple):
    """One start of a handler; `at` is nanoseconds of the monotonic clock, which all processes of a host share."""

    at: int
    job_id: int
    lease: int
    pid: int


class _Notes:
    """The file of this process, opened again after a fork."""

    pid = 0
    file = -1


def _note(ctx: JobContext) -> None:
    pid = os.getpid()
    if _Notes.pid != pid:
        path = os.path.join(os.environ[STARTS], f"{pid}-{time.monotonic_ns()}")
        _Notes.file, _Notes.pid = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), pid
    os.write(_Notes.file, _RECORD.pack(time.monotonic_ns(), ctx.job.id, ctx.job.lease, pid))


def starts(folder: Path) -> list[Start]:
    """Every start noted in this folder so far, in the order of time."""
    return sorted(_all_starts(folder))


def _all_starts(folder: Path) -> Iterator[Start]:
    for path in folder.iterdir():
        whole = path.read_bytes()
        yield from map(Start._make, _RECORD.iter_unpack(whole[: len(whole) // _RECORD.size * _RECORD.size]))


def noop(ctx: JobContext) -> None:
    """Nothing at all."""
    _note(ctx)


def long_the_first_time(ctx: JobContext) -> None:
    """Thirty seconds in the first attempt, nothing in any other."""
    _note(ctx)
    if ctx.job.lease == 1:
        time.sleep(30)
