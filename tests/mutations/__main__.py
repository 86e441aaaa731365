"""`python -m tests.mutations [NAME ...] [-j 2]` removes each guard in turn and requires that some test says what is broken."""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed

from tests.postgres import PrivatePostgres

from .catalogue import Mutation, catalogue
from .trial import attempt

SERVER = "JOBQUEUE_TEST_SERVER"


def main() -> int:
    """Try all, or those named; 0 when every one was caught."""
    known = catalogue()
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a guard of catalogue.toml; all when none is named")
    parser.add_argument("-j", type=int, default=2, metavar="N", dest="at_once", help="so many at the same time (2)")
    given = parser.parse_args()
    if unknown := set(given.names) - set(known):
        parser.error(f"not in the catalogue: {', '.join(sorted(unknown))}")
    wanted = given.names or list(known)
    server = PrivatePostgres()
    try:
        os.environ[SERVER] = server.start().url()
        caught = _try_all([known[name] for name in wanted], given.at_once)
    finally:
        server.remove()
    print(f"{caught} of {len(wanted)} caught")
    return 0 if caught == len(wanted) else 1


def _try_all(mutations: list[Mutation], at_once: int) -> int:
    caught = 0
    with ThreadPoolExecutor(at_once) as pool:
        for done in as_completed(pool.submit(attempt, each) for each in mutations):
            verdict = done.result()
            caught += verdict.is_caught
            databases = "+".join(verdict.mutation.on) or "no database"
            print(
                f"{'ok' if verdict.is_caught else 'NO'} {verdict.mutation.name} ({verdict.mutation.promise}, {databases},"
                f" {verdict.seconds:.1f} s): {verdict.words}", flush=True,
            )
    return caught


if __name__ == "__main__":
    sys.exit(main())
