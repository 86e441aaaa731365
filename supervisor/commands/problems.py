"""What goes wrong in a command, as one error with an id, and what the user can do about it."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a command's exit code means."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    NOT_FOUND = 4
    REFUSED = 5
    DATABASE_UNREACHABLE = 69
    PERMISSION = 77
    BAD_CONFIGURATION = 78
    INTERRUPTED = 130


class Problem(Exception):
    """Ends a command with `error[ID] what`, a line that says what to do, and an exit code.

    `name` is stable and documented; `fix` may be empty when `what` already says it.
    """

    def __init__(self, name: str, what: str, fix: str = "", code: Exit = Exit.FAILED) -> None:
        super().__init__(what)
        self.name = name
        self.what = what
        self.fix = fix
        self.code = code

    def render(self) -> str:
        """The lines for stderr, without colour."""
        first = f"error[{self.name}] {self.what}"
        return f"{first}\n  {self.fix}" if self.fix else first


class Rendered(Exception):
    """Ends a command with text that is complete already: the problems of a configuration file."""

    def __init__(self, text: str, code: Exit = Exit.BAD_CONFIGURATION) -> None:
        super().__init__(text)
        self.code = code

    def render(self) -> str:
        """The text as it was made."""
        return str(self)


def usage(what: str, fix: str = "", name: str = "USAGE") -> Problem:
    """A problem with the command line itself: exit code 2."""
    return Problem(name, what, fix or "supervisor --help", Exit.USAGE)


def did_you_mean(word: str, known: list[str]) -> str:
    """`, did you mean 'x'?` for the nearest known word, or `; known: a, b` when none is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1)
    if near:
        return f", did you mean {near[0]!r}?"
    return f"; known: {', '.join(sorted(known))}" if known else "; none is known"
