"""Trials side by side: each in a forked process of its own, which answers through a file."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from .trial import Verdict

Trial = tuple[str, Callable[[], Verdict]]
"""Its name, and what is done."""


def verdicts(trials: Iterable[Trial], folder: Path, at_once: int) -> Iterator[tuple[str, Verdict]]:
    """Each trial's name and verdict, as they end; `at_once` of them run at a time. The caller has no threads."""
    running: dict[int, str] = {}
    for name, trial in trials:
        if len(running) == at_once:
            yield _next(running, folder)
        running[_start(trial, folder)] = name
    while running:
        yield _next(running, folder)


def _start(trial: Callable[[], Verdict], folder: Path) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        verdict = trial()
    except BaseException:
        verdict = Verdict(False, [traceback.format_exc()])
    (folder / f"{os.getpid()}.verdict").write_text(json.dumps(asdict(verdict)))
    os._exit(0)


def _next(running: dict[int, str], folder: Path) -> tuple[str, Verdict]:
    pid = 0
    while pid not in running:
        pid, _ = os.waitpid(-1, 0)
    name = running.pop(pid)
    answer = folder / f"{pid}.verdict"
    verdict = Verdict(**json.loads(answer.read_text())) if answer.exists() else Verdict(False, ["the trial itself died"])
    answer.unlink(missing_ok=True)
    return name, verdict
