"""Faults that need more of a machine than Python: where they cannot be done their tests are skipped, but fail in the gate."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NoReturn

import pytest

EVERY_FAULT = "JOBQUEUE_TEST_EVERY_FAULT"
"""The environment variable that `.ci/run` sets: a fault that cannot be done is a failure then."""

_UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def cannot_be_done(why: str) -> NoReturn:
    """End the test, for its fault cannot be done here: as skipped, or as failed where every fault is insisted on."""
    if os.environ.get(EVERY_FAULT):
        pytest.fail(f"{EVERY_FAULT} is set, and {why}", pytrace=False)
    pytest.skip(why)


def needs(program: str) -> None:
    """End the test unless this program is installed."""
    if shutil.which(program) is None:
        cannot_be_done(f"{program} is not installed")


def own_pids() -> tuple[str, ...]:
    """A command prefix that starts a program as process 1 of a namespace of its own; ends the test where that is forbidden."""
    needs("unshare")
    tried = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        cannot_be_done(f"this user may not make a namespace of process ids: {tried.stderr.strip()}")
    return _UNSHARE
