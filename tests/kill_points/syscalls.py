"""Kills at system calls: strace attaches to a process before it begins, and kills it at its n-th write or sync."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate")


class Strace:
    """Attached to the main thread of one process, alone: in these paths that is who writes."""

    def __init__(self, folder: Path, *injection: str) -> None:
        self._log, self._injection = folder / "strace", injection
        self._process: subprocess.Popen[bytes] | None = None

    def attach(self, pid: int) -> None:
        """Returns once it is attached."""
        traced = ["-e", f"trace={','.join(CALLS)}", "-e", "signal=none", "-o", str(self._log)]
        self._process = subprocess.Popen(
            ["strace", "-p", str(pid), *traced, *self._injection], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert self._process.stderr is not None
        said = self._process.stderr.readline()
        assert b"attached" in said, said

    def wait(self) -> None:
        """Wait until it has seen the end of its process."""
        assert self._process is not None
        self._process.wait(10)

    @staticmethod
    def read(folder: Path) -> Counter[str]:
        """How often each call was made, by the log that it left in this folder."""
        return Counter(re.findall(r"^(\w+)\(", (folder / "strace").read_text(), re.MULTILINE))


def killing(folder: Path, call: str, nth: int) -> Strace:
    """Kills its process at the n-th such call."""
    return Strace(folder, "-e", f"inject={call}:signal=SIGKILL:when={nth}")
