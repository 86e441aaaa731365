"""Kills at system calls: strace attaches to a process before it begins, and kills it at its n-th write or sync.

It kills by the calls of the main thread alone, for strace counts those of each thread apart. The run that counts follows all
threads and children, so that a call which another one makes is seen, and not left out of the count in silence.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate")


class Strace:
    """Attached to the main thread of one process; with the option `-f` also to all that it starts."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._log, self._options = folder / "strace", options
        self._process: subprocess.Popen[bytes] | None = None

    def attach(self, pid: int) -> None:
        """Returns once it is attached."""
        traced = ["-e", f"trace={','.join(CALLS)}", "-e", "signal=none", "-o", str(self._log)]
        self._process = subprocess.Popen(
            ["strace", "-p", str(pid), *traced, *self._options], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert self._process.stderr is not None
        said = self._process.stderr.readline()
        assert b"attached" in said, said

    def wait(self) -> None:
        """Wait until it has seen the end of its process."""
        assert self._process is not None
        self._process.wait(10)



def counting(folder: Path) -> Strace:
    """Kills nobody, and follows whatever the process starts."""
    return Strace(folder, "-f")


def calls_of_each(folder: Path) -> dict[str, Counter[str]]:
    """How often each thread made each call, by the log that `counting` left; under `""` those of a log of one thread."""
    calls = re.findall(r"^(?:(\d+) +)?(\w+)\(", (folder / "strace").read_text(), re.MULTILINE)
    return {thread: Counter(call for its, call in calls if its == thread) for thread in {its for its, _ in calls}}


def killing(folder: Path, call: str, nth: int) -> Strace:
    """Kills its process at the n-th such call."""
    return Strace(folder, "-e", f"inject={call}:signal=SIGKILL:when={nth}")
