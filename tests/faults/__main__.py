"""The long rows of the fault matrix: `python -m tests.faults ROW... [--minutes M]` does them and prints what was measured."""

from __future__ import annotations

import argparse
import sys

from .lengthy import ROWS


def main() -> int:
    """Do each row that was asked for; a broken promise is an AssertionError."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="+", choices=sorted(ROWS))
    parser.add_argument("--minutes", type=float, default=1.0)
    asked = parser.parse_args()
    for row in asked.rows:
        print(f"{row}:", flush=True)
        print(ROWS[row](asked.minutes), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
