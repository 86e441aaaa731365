"""What is wrong with a configuration: where, what, why and what to write instead, and how that is shown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from .masking import mask_line

CODES = {
    "CFG-NOT-FOUND": "There is no configuration file where it was looked for. `supervisor init` writes one.",
    "CFG-NO-DIRECTORY": "A path is relative to the working directory, which somebody removed.",
    "CFG-UNREADABLE": "The file exists but cannot be read: its permissions, or it is not a file.",
    "CFG-TOO-LARGE": "The file is larger than 1 MiB, nested deeper than 32 levels, or its aliases multiply.",
    "CFG-ENCODING": "The file is not UTF-8 text, or holds characters that YAML does not allow.",
    "CFG-SYNTAX": "The file is not YAML.",
    "CFG-CRON-QUOTE": "A value that starts with `*` is an alias in YAML: quote a cron expression.",
    "CFG-ALIAS": "An alias names no anchor, or contains itself.",
    "CFG-TAG": "A YAML tag that is not one of the plain ones; no tag creates objects here.",
    "CFG-DUPLICATE-KEY": "The same key stands twice in one mapping. YAML readers often keep the last one in silence.",
    "CFG-INTERPOLATION": "A `${...}` cannot be filled in: the variable is not set, or the form is not known.",
    "CFG-UNKNOWN": "No setting has this name.",
    "CFG-MISSING": "A setting that has no default is not given.",
    "CFG-TYPE": "The value is of another type than the setting.",
    "CFG-CHOICE": "The value is none of the words that the setting accepts.",
    "CFG-RANGE": "The value is too small, too large, or does not fit to another one.",
    "CFG-DURATION": "The value is not a duration.",
    "CFG-DATABASE-URL": "The database URL cannot be used.",
    "CFG-JWKS-URL": "The keys of the identity provider would come from no web address, or unencrypted from another host.",
    "CFG-PATH": "The path cannot be used.",
    "CFG-NAME": "The name contains characters that names of this kind may not have.",
    "CFG-LANE": "The lane template is malformed or names a field that does not exist.",
    "CFG-HANDLER": "The handler is not written `module:function`, or cannot be imported.",
    "CFG-LOCK-TIMEOUT": "`lock_timeout` is shorter than three heartbeats, so one late heartbeat would lose a job.",
    "CFG-DUPLICATE-ID": "Two processes or two programs have the same id.",
    "CFG-LITERAL-SECRET": "A password stands in the file itself (a warning).",
    "CFG-READABLE": "Others can read a file with a password in it (a warning).",
    "CFG-NO-JOB-TYPES": "No job type is declared, so the workers have nothing to claim (a warning).",
    "CFG-MORE": "There are more problems than are shown.",
}
"""Every code a problem can carry, with what it means. The reference documentation is written from this table."""

SHOWN_AT_MOST = 100
_WIDEST = 120


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written: `name` is a file as the user named it, `environment NAME` or `command line`.

    `line` and `column` count from 1 and are 0 outside of files; `text` is that line of the file.
    """

    name: str
    line: int = 0
    column: int = 0
    text: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.line}:{self.column}" if self.line else self.name


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `code` is a key of `CODES`, stable across releases; `hint` says what to do."""

    where: Place | None
    code: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        """In one line, without the line of the file: that may hold a password."""
        fix = f"; fix: {self.hint}" if self.hint and not _is_suggestion(self.hint) else ""
        return _printable(f"{_headline(self)}{fix}")


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds everything that is wrong with it, in the order of the file."""

    exit_code = 78

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__(render(self.problems, closing=""))


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each problem once, those in files first and from top to bottom; at most `SHOWN_AT_MOST` and how many more."""
    first: dict[object, Problem] = {}
    for problem in problems:
        first.setdefault((problem.where, problem.code, problem.message.partition(": ")[2] or problem.message), problem)
    ordered = sorted(first.values(), key=_position)
    if len(ordered) <= SHOWN_AT_MOST:
        return tuple(ordered)
    more = f"{len(ordered) - SHOWN_AT_MOST} more problems are not shown"
    return (*ordered[:SHOWN_AT_MOST], Problem(None, "CFG-MORE", more, "fix these first"))


def _position(problem: Problem) -> tuple[bool, str, int, int]:
    where = problem.where or Place("")
    return (not where.line, where.name, where.line, where.column)


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`did you mean 'x'?` for the candidate nearest to `word`, or nothing when none is near."""
    known = {candidate.lower(): candidate for candidate in candidates}
    near = difflib.get_close_matches(word[:80].lower(), known, n=1, cutoff=0.6)
    return f"did you mean '{known[near[0]]}'?" if near else ""


def render(problems: Sequence[Problem], *, closing: str = "The supervisor was not started.") -> str:
    """The problems as text for a terminal, one after the other, and a last line that counts them.

    Passwords in the quoted lines are masked, and control characters replaced. Nothing at all for no problems.
    """
    if not problems:
        return ""
    lines = [line for problem in problems for line in _lines(problem)]
    return "\n".join([*lines, f"{_count(problems)}. {closing}".rstrip()])


def _is_suggestion(hint: str) -> bool:
    return hint.startswith("did you mean")


def _headline(problem: Problem) -> str:
    message = f"{problem.message}, {problem.hint}" if _is_suggestion(problem.hint) else problem.message
    place = f"{problem.where}: " if problem.where else ""
    return f"{place}{problem.severity}[{problem.code}] {message}"


def _lines(problem: Problem) -> list[str]:
    lines = [_headline(problem)]
    if problem.where and problem.where.line:
        lines += _quoted(problem.where)
    if problem.hint and not _is_suggestion(problem.hint):
        lines.append(f"  fix: {problem.hint}")
    return [_printable(line) for line in lines]


def _quoted(place: Place) -> list[str]:
    text, column = mask_line(place.text, place.column - 1)
    begin = max(0, column - _WIDEST // 2) if len(text) > _WIDEST else 0
    text = text[begin : begin + _WIDEST].replace("\t", " ").rstrip()
    number = f"{place.line:>4}"
    return [f"{number} | {text}", f"{' ' * len(number)} | {' ' * (column - begin)}^"]


def _printable(line: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _count(problems: Sequence[Problem]) -> str:
    counts = {kind: sum(problem.severity == kind for problem in problems) for kind in ("error", "warning")}
    return ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count)
