"""The one place where an exception becomes an error text and an exit code."""

from __future__ import annotations

import sys

from typer.exceptions import TyperException

from . import output
from .opening import problem_of
from .problems import Exit, Problem, Rendered


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
    path = context.command_path if context else "supervisor"
    return Problem("USAGE", error.format_message().strip(), f"{path} --help", Exit.USAGE)
