"""Whether the handlers of a configuration can be imported, found out as a start does: in children that are thrown away."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config import Loaded, Problem

    from ..errands import Errand
    from ..probing import Findings


def handler_problems(loaded: Loaded) -> list[Problem]:
    """A problem for each job type whose handler cannot be imported, at its place in the file."""
    return problems_of(loaded, probe_handlers(loaded))


def problems_of(loaded: Loaded, findings: Findings) -> list[Problem]:
    """What was found, as problems of the configuration file."""
    from config import handler_problem

    return [handler_problem(loaded, each.job_type, each.message, each.candidates) for each in findings.unusable]


def probe_handlers(loaded: Loaded) -> Findings:
    """Import every handler module in a child of its own. What they print meanwhile goes to stderr."""
    from ..children import Nursery
    from ..plan import handlers_of
    from ..probing import probe

    with _stdout_as_stderr():
        return probe(handlers_of(loaded.settings), Nursery(), _wait)


def _wait(errands: Sequence[Errand]) -> None:
    select.select([errand.descriptor for errand in errands], [], [], 0.05)


@contextmanager
def _stdout_as_stderr() -> Iterator[None]:
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
