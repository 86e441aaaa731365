"""Whether the handlers of a configuration can be imported, found out in this process, which is about to end."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config import Loaded, Problem


def handler_problems(loaded: Loaded) -> list[Problem]:
    """A problem for each job type whose handler cannot be imported, at its place in the file.

    What the handlers' modules print while they are imported goes to stderr.
    """
    from config import handler_problem
    from workers import HandlerProblem, resolve

    problems = []
    with contextlib.redirect_stdout(sys.stderr):
        for job_type, kind in loaded.settings.job_types.items():
            try:
                resolve(kind.handler)
            except HandlerProblem as error:
                problems.append(handler_problem(loaded, job_type, error.message, error.candidates))
    return problems
