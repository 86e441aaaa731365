"""The programs: check whose packages these are, then hand over to the commands or to `run_job_processor.py`."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

ROOMS = ("config", "backends", "workers", "apps", "supervisor")
BAD_INSTALLATION = 78


def main() -> int:
    """Run the command on the command line and return its exit code; 78 when another package stands in the way of ours."""
    if refused := prepare():
        return refused
    from .commands import run

    return run(sys.argv[1:])


def prepare() -> int:
    """What each program does first; returns 78 when what it would import next is another package than ours, else 0."""
    _open_standard_streams()
    return _refuse_foreign_packages()


def _open_standard_streams() -> None:
    """Have a standard stream that the caller closed (`2>&-`) lead nowhere: else the next file opened, a database, would be it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number that is free, which is this one
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _refuse_foreign_packages() -> int:
    shadows = foreign_packages()
    for name, place in shadows:
        print(f"error[FOREIGN-PACKAGE] the package {name!r} is {place}, not this project's", file=sys.stderr)
    if shadows:
        remedy = "  Run jobqueue from its own virtual environment, and rename or move what is in the way."
        print(remedy, file=sys.stderr)
    return BAD_INSTALLATION if shadows else 0


def foreign_packages(home: Path | None = None) -> list[tuple[str, str]]:
    """The rooms that Python would import from elsewhere than `home` (default: where this file stands), each with that place."""
    home = home or Path(__file__).resolve().parent.parent
    places = ((name, place_of(name)) for name in ROOMS)
    return [(name, place) for name, place in places if place != str(home / name / "__init__.py")]


def place_of(name: str) -> str:
    """The file that `import name` would run, links resolved; or words that say there is none."""
    spec = find_spec(name)
    if spec is None:
        return "missing"
    if spec.origin is None:
        return f"a bare folder at {', '.join(spec.submodule_search_locations or ())}"
    return str(Path(spec.origin).resolve())


if __name__ == "__main__":
    sys.exit(main())
