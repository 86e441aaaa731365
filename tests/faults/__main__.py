"""The long rows of the fault matrix: `python -m tests.faults ROW...` does them and prints what was measured.

How much of it: `--minutes M`, `--rounds N`, `--seed S`, `--backend sqlite|postgres`; each row takes of these what it knows of.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import fields

from .asked import Asked
from .disk import errors
from .horizon import horizon
from .lengthy import ROWS
from .rounds import workers
from .writers import writers

ALL: dict[str, Callable[[Asked], str]] = ROWS | {"errors": errors, "horizon": horizon, "workers": workers, "writers": writers}
"""Each by its name on the command line; all take minutes."""


def main() -> int:
    """Do each row that was asked for; a broken promise is an AssertionError."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="+", choices=sorted(ALL))
    usual = Asked()
    parser.add_argument("--minutes", type=float, default=usual.minutes)
    parser.add_argument("--rounds", type=int, default=usual.rounds)
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--backend", choices=("sqlite", "postgres"), default=usual.backend)
    given = vars(parser.parse_args())
    asked = Asked(**{field.name: given[field.name] for field in fields(Asked)})
    for row in given["rows"]:
        print(f"{row}:", flush=True)
        print(ALL[row](asked), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
