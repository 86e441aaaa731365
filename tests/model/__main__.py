"""The long searches: `python -m tests.model [--faults 2]` lets each fault befall the protocol, and then every so many at once."""

from __future__ import annotations

import argparse
import sys
from itertools import combinations

from .searches import ANY, FAULTS, GUARDS, missing_programs, search


def main() -> int:
    """Search, and print what was looked at; 1 when a promise was broken or a guard was not missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--faults", type=int, default=2, help="how many different faults befall it at once")
    wanted = parser.parse_args().faults
    if missing_programs():
        print(f"not installed: {', '.join(missing_programs())}: apt-get install spin gcc")
        return 78
    wrong = 0
    for faults in [(ANY,), *combinations(FAULTS, wanted)]:
        found = search(faults)
        wrong += bool(found.broken) or not found.complete
        verdict = found.broken or ("no promise is broken" if found.complete else "NOT SEARCHED TO THE END")
        print(f"{' + '.join(faults) or 'no fault'}: {found.states:,} states in {found.seconds:.1f} s: {verdict}", flush=True)
    for guard, (fault, promise) in GUARDS.items():
        found = search([fault], without=guard, only=promise)
        wrong += found.promise != promise
        verdict = f"breaks {found.promise or 'nothing'}" + ("" if found.promise == promise else f", AND NOT {promise}")
        print(f"{guard}, {fault}: {verdict}: {found.broken}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
