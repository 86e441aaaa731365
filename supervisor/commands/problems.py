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


ERRORS = {
    "USAGE": "The command line is wrong.",
    "BAD-PARAM": "A parameter is not `name=value`, is given twice, or cannot be stored.",
    "BAD-TIME": "A time is not ISO 8601.",
    "BAD-DURATION": "A duration is not one.",
    "JOB-TYPE": "The configuration file declares no job type of this name.",
    "JOB-NOT-FOUND": "There is no job with this id; it may have been pruned.",
    "JOB-STATUS": "The job's status does not allow this.",
    "PROGRAM": "The program cannot be added; the message says why.",
    "QUERY": "A search without a word, or with too many, or with a limit or cursor that means nothing.",
    "USER": "The user cannot be added; the message says why.",
    "USER-NOT-FOUND": "There is no user of this name.",
    "KEY": "There is no key to encrypt secrets with, or a secret cannot be decrypted; the message says why.",
    "SECRET": "A secret was given in a way that shows it, or not at all.",
    "SECRET-NOT-FOUND": "There is no secret of this name.",
    "TOKEN": "The token cannot be made, or it is not clear which one is meant.",
    "TOKEN-NOT-FOUND": "There is no token of this id or beginning.",
    "MEMBER-NOT-FOUND": "The user is not a member of the program.",
    "EXTENSION": "No module under `extensions` has programs or users, or one cannot be imported.",
    "DB-UNREACHABLE": "The database cannot be reached, did not answer in time, is read-only or full.",
    "DB-URL": "The database URL cannot be used.",
    "DB-PERMISSION": "The database's user may not do that.",
    "DB-ERROR": "The database refused a statement; the message says why.",
    "DB-SCHEMA": "The database's schema is older, newer or not ours.",
    "DB-LEGACY": "Another program's table `indexing_jobs` cannot be taken over as it is; each reason is named.",
    "SQLITE-FILESYSTEM": "The SQLite file lies on a network file system, where its locks do not hold.",
    "PG-SYNCHRONOUS-COMMIT": "The PostgreSQL server acknowledges commits that a crash can lose; the message says who told it to.",
    "LANE-DISAGREEMENT": "A running supervisor gives a job type another lane than this file does.",
    "INHERITED-CONNECTION": "A connection that was open before a process was forked was used after it.",
    "NOT-RUNNING": "No supervisor runs in the run directory of this configuration.",
    "PID-RUNNING": "A supervisor already runs in the run directory of this configuration.",
    "STOP-TIMEOUT": "The supervisor was asked to stop and has not, yet.",
    "RELOAD-REFUSED": "The supervisor read the new configuration and did not take it; the message says why.",
    "RELOAD-TIMEOUT": "The supervisor was asked to reload and has not said, yet, what became of it.",
    "RESTART-ASKED": "Another `supervisor restart` waits for the same supervisor.",
    "RESTART-FAILED": "The supervisor ended and did not start again; its log says why.",
    "RESTART-TIMEOUT": "The supervisor was asked to restart and is not up again, yet.",
    "LOG-FILE": "The log file may not be written, or is none.",
    "RUN-DIR": "The run directory may not be read or written.",
    "SIGNAL-PERMISSION": "The supervisor belongs to another user.",
    "START": "The supervisor could not start; the message says why.",
    "INIT-EXISTS": "`init` does not overwrite a file.",
    "FOREIGN-PACKAGE": "Another package of the same name is in front of one of this project's.",
    "PERMISSION": "A file may not be read or written.",
    "SYSTEM": "The operating system refused something; the message says what.",
    "INTERNAL": "A bug.",
}
"""Every id that an error of a command can have, beside those of the configuration, with what it means."""


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
