"""The one place where an exception becomes an error text and an exit code."""

from __future__ import annotations

import sys

from typer.exceptions import TyperException

from . import output
from .opening import problem_of
from .problems import Exit, Problem, Rendered

NO_NUMBER = "Input should be a valid integer, unable to parse string as an integer"


def report(error: Exception) -> int:
    """Say on stderr what went wrong and what to do about it; returns the exit code."""
    known = error if isinstance(error, Problem | Rendered) else worded(error)
    output.complain(known.render())
    return known.code


def worded(error: Exception) -> Problem | Rendered:
    """The problem that an exception means. Asks only packages that were imported already: nothing else can have raised it."""
    config, backends = sys.modules.get("config"), sys.modules.get("backends")
    if config and isinstance(error, config.ConfigError):
        return Rendered(config.render(error.problems, closing=""))
    if backends and (problem := problem_of(error)):
        return problem
    if isinstance(error, TyperException):
        return _of_usage(error)
    if isinstance(error, PermissionError):
        return Problem(
            "PERMISSION",
            f"{error.filename}: {error.strerror}",
            "Run as a user who may, or change its mode.",
            Exit.PERMISSION,
        )
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return Problem("SYSTEM", f"{place}{error.strerror or error}")
    return Problem(
        "INTERNAL",
        f"{type(error).__name__}: {error}",
        "This is a bug. Repeat the command with --traceback, and report it.",
    )


def _of_usage(error: TyperException) -> Problem:
    context = getattr(error, "ctx", None)
    what = error.format_message().strip().replace(NO_NUMBER, "must be a whole number")
    if context is None:
        return Problem("USAGE", what, "supervisor --help", Exit.USAGE)
    path = context.command_path
    wanted = [each.metavar for each in context.command.params if each.param_type_name == "argument" and each.metavar]
    usage = f"Usage: {' '.join([path, *wanted])} [OPTIONS]. More: " if wanted else ""
    return Problem("USAGE", what, f"{usage}{path} --help", Exit.USAGE)
