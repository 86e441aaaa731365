"""Code run in a fresh interpreter, which has one thread and so may fork: a nursery and the collecting of a child are given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import Any

from tests.support import REPOSITORY

BEFORE = """
import json, os, select, signal, sys, time
from supervisor.children import Nursery
from workers import boot_time
nursery = Nursery()
def ended(child):
    while (ending := nursery.reap(child)) is None:
        select.select([child.pidfd], [], [], 5)
    return list(ending)
"""


def in_a_fresh_process(body: str) -> Any:
    """Run the code; it prints one line of JSON, which is returned."""
    code = BEFORE + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False, cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
