"""From a fresh clone to the first completed job: what the first commands in the README cost a newcomer."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from backends import DatabaseUnavailable, Queue, open_engine

from . import report
from .stage import ROOT, Trouble, fresh_folder, wait_for

BLOCK = re.compile(r"^```(?:sh|bash|console|shell|text)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
CLONING = re.compile(r"^(git clone|cd)\b")
STARTING = re.compile(r"\bstart\b")


def main() -> int:
    """Measure as the command line says; SQLite only, since that is what the shipped configuration uses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--folder", help="where temporary folders are made: on a disk, not in memory")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--revision", default="HEAD", help="what is cloned")
    parser.add_argument(
        "--command", action="append",
        help="instead of the README's first block; repeat for several lines, of which the last one starts the supervisor",
    )
    parser.set_defaults(database=["sqlite"], postgres=None)
    return report.run(parser, lambda _, arguments: measure(arguments))


def measure(arguments: argparse.Namespace) -> None:
    """Every repetition by itself, in a fresh clone; pip's cache makes the first one slower than the others."""
    for _ in range(arguments.repeat):
        with fresh_folder(arguments.folder) as folder:
            one_run(folder, arguments)


def one_run(folder: Path, arguments: argparse.Namespace) -> None:
    """Clone, run every command but the last, start with the last, and wait for the first completed job."""
    clone = folder / "clone"
    cloning = timed(["git", "clone", "-q", str(ROOT), str(clone)])
    timed(["git", "-C", str(clone), "checkout", "-q", git_revision(arguments.revision)])
    report.line("git clone (not counted below)", cloning, "s", 1)
    *preparing, start = arguments.command or commands_of((clone / "README.md").read_text())
    environment = clean_environment()
    total = 0.0
    for command in preparing:
        total += (seconds := timed(["bash", "-ec", command], clone, environment))
        report.line(command, seconds, "s", 1)
    total += (seconds := first_job(start, clone, environment))
    report.line(f"{start}, until the first job is completed", seconds, "s", 1)
    report.line("altogether", total, "s", 1)


def git_revision(name: str) -> str:
    """The commit of that name in this repository."""
    return subprocess.check_output(["git", "-C", str(ROOT), "rev-parse", name], text=True).strip()


def commands_of(readme: str) -> list[str]:
    """The lines of the first block of commands, cloning aside. Raises `Trouble` when the last one does not start anything."""
    block = BLOCK.search(readme)
    lines = [line.strip().removeprefix("$ ") for line in block.group(1).splitlines()] if block else []
    single = [part.strip() for line in lines for part in line.split("&&")]
    commands = [re.sub(r"\s+#\s.*$", "", part) for part in single if part and not part.startswith("#")]
    commands = [command for command in commands if not CLONING.match(command)]
    if not commands or not STARTING.search(commands[-1]):
        raise Trouble("README.md has no block of commands that ends by starting the supervisor; give --command instead")
    return commands


def clean_environment() -> dict[str, str]:
    """A newcomer's environment: nothing of the virtual environment that runs this, no settings of ours."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "DATABASE_URL", "LOG_LEVEL")
    kept = {name: value for name, value in os.environ.items() if name not in dropped and not name.startswith("JOBQUEUE")}
    places = [place for place in kept.get("PATH", os.defpath).split(os.pathsep) if place != f"{sys.prefix}/bin"]
    return kept | {"PATH": os.pathsep.join(places)}


def timed(command: list[str], folder: Path | None = None, environment: dict[str, str] | None = None) -> float:
    """The seconds that a command takes. Raises `Trouble` when it fails."""
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return time.monotonic() - began


def first_job(command: str, clone: Path, environment: dict[str, str]) -> float:
    """Seconds from starting the supervisor until its first job is completed."""
    began = time.monotonic()
    log = clone.parent / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=clone, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    tree = [psutil.Process(process.pid)]
    try:
        database = clone / "jobqueue.db"
        wait_for(lambda: ended(process, log) or database.exists(), within=60, every=0.01, what="the database's file")
        engine = open_engine(f"sqlite:///{database}")
        queue = Queue(engine)
        wait_for(lambda: ended(process, log) or has_completed(queue), within=120, every=0.02, what="the first job")
        seconds = time.monotonic() - began
        tree += tree[0].children(recursive=True)
        engine.dispose()
    finally:
        stop(process, tree)
    return seconds


def ended(process: subprocess.Popen[bytes], log: Path) -> bool:
    """False as long as it runs. Raises `Trouble` when it does not."""
    if process.poll() is not None:
        raise Trouble(f"the supervisor ended with {process.returncode}:\n{log.read_text()[-4000:]}")
    return False


def has_completed(queue: Queue) -> bool:
    """Whether any job is completed; False while there are no tables yet."""
    try:
        return bool(queue.page(status="completed", limit=1).jobs)
    except DatabaseUnavailable:
        return False
    except Exception as error:
        if "no such table" in str(error):
            return False
        raise


def stop(process: subprocess.Popen[bytes], tree: list[psutil.Process]) -> None:
    """Leave no process behind."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(40)
    for each in tree:
        with contextlib.suppress(psutil.Error):
            each.kill()
    process.wait(10)


if __name__ == "__main__":
    sys.exit(main())
