"""Small libraries that are preloaded into a program to show it another clock, or to refuse it processes; built when needed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def _library(name: str, folder: Path) -> Path:
    """Build it in that folder; gcc is named among what the tests need."""
    built = folder / f"{name}.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", str(built), str(HERE / f"{name}.c"), "-ldl"], check=True)
    return built


class Clock:
    """The wall clock of every program started with its `environment`; steps at once, for one process or all."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="jqclock-", dir="/tmp"))
        self._folder.chmod(0o755)  # servers of other users read it too
        self.environment = {"LD_PRELOAD": str(_library("clock", self._folder)), "CLOCK_FOLDER": str(self._folder)}

    def step(self, seconds: int, pid: int | None = None) -> None:
        """Be so many seconds ahead of the true time from now on."""
        fresh = self._folder / "fresh"
        fresh.write_text(str(seconds))
        fresh.rename(self._folder / ("all" if pid is None else str(pid)))

    def remove(self) -> None:
        """Leave no file behind."""
        shutil.rmtree(self._folder)


class NoFork:
    """Refuses another process to every program started with it, as long as told to."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "no fork"
        self.environment = {"LD_PRELOAD": str(_library("fork", folder)), "NO_FORK_WHILE": str(self._file)}

    def begin(self) -> None:
        """Refuse from now on."""
        self._file.touch()

    def end(self) -> None:
        """Refuse no more."""
        self._file.unlink()


def with_environment(variables: dict[str, str]) -> tuple[str, ...]:
    """A command prefix that starts a program with these variables."""
    return ("env", *(f"{name}={value}" for name, value in variables.items()))
