"""A long search: `python -m tests.machine --minutes M --seed S` on a SQLite file and a Postgres server of its own."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from backends import open_engine, upgrade
from tests.postgres import PrivatePostgres

from .machine import Machine, search

AT_ONCE = 20
"""Examples under one seed, after which the time is looked at."""


def main() -> int:
    """Search until the time is over; Hypothesis prints the shortest way to what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.machine", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=60, help="most steps of one example")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jobqueue-machine-") as folder:
        server = PrivatePostgres().start()
        try:
            return _search(Path(folder), server.url(), asked)
        finally:
            server.remove()


def _search(folder: Path, url: str, asked: argparse.Namespace) -> int:
    engines = [open_engine(f"sqlite:///{folder}/queue.db"), open_engine(url)]
    for engine in engines:
        upgrade(engine)
    over, number = time.monotonic() + 60 * asked.minutes, asked.seed
    while time.monotonic() < over:
        search(engines, AT_ONCE, asked.steps, number)
        number += 1
    for engine in engines:
        engine.dispose()
    print(f"seeds {asked.seed} to {number - 1}: {Machine.examples} examples, {Machine.done} steps, nothing is broken")
    return 0


if __name__ == "__main__":
    sys.exit(main())
