"""Log lines: readable ones on a terminal, JSON elsewhere; to standard error without ever waiting for it, or to a shared file."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from .masking import MASK, is_secret, mask_credentials

FIRST = ("ts", "level", "event", "logger")
"""The keys that every JSON line has; `ts` is UTC in ISO 8601."""

Scrub = Callable[[str], str]
STANDARD_ERROR = 2


class StandardError(logging.Handler):
    """Writes to standard error, and never waits for its reader: a line that finds no room is dropped and counted.

    Who reads may stand still (a terminal after Ctrl-S, a pager) or be gone; processes that waited for it would neither run jobs
    nor judge each other. How many lines were dropped is told before the first one that finds room again (`logs.dropped`).
    A file has room until its disk is full.
    """

    def __init__(self) -> None:
        super().__init__()
        self._process = os.getpid()
        self._dropped = 0
        self._rest = b""
        self._behind: os.stat_result | None = None
        self._own: int | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, or count it."""
        try:
            line = self.format(record).encode(errors="replace") + b"\n"
        except Exception:
            self.handleError(record)
            return
        self.write(line)

    def write(self, line: bytes) -> bool:
        """Write one line; False when it was dropped."""
        if self._process != os.getpid():
            self._process, self._dropped, self._rest = os.getpid(), 0, b""  # those are the parent's, which tells them itself
        self._rest = self._sent(self._rest)
        if self._dropped and not self._rest and self._has_room():
            self._tell_dropped()
        left = line if self._rest else self._sent(line)
        if left == line:
            self._dropped += 1
            return False
        self._rest = self._rest or left
        return True

    def _tell_dropped(self) -> None:
        lines, self._dropped = self._dropped, 0
        structlog.get_logger("jobqueue.logs").warning("logs.dropped", lines=lines, pid=os.getpid())
        self._dropped = lines if self._dropped else 0

    def _sent(self, data: bytes) -> bytes:
        """Send as much as finds room; returns the rest."""
        with contextlib.suppress(OSError):  # nobody reads it any more
            while data and self._has_room():
                part = data if self._own is not None or self._is_file() else data[: select.PIPE_BUF]
                data = data[os.write(STANDARD_ERROR if self._own is None else self._own, part) :]
        return data

    def _has_room(self) -> bool:
        try:
            self._follow()
        except OSError:  # it was closed
            return False
        if self._is_file():
            return True
        poll = select.poll()
        poll.register(STANDARD_ERROR, select.POLLOUT)
        return bool(poll.poll(0))

    def _is_file(self) -> bool:
        return self._behind is not None and stat.S_ISREG(self._behind.st_mode)

    def _follow(self) -> None:
        """Open once more what stands behind standard error, so that writing there does not block even when others are faster.

        On the descriptor itself that would hold for all who share it, the shell among them. Where it cannot be done (sockets,
        another user's pipe) it is asked before each write whether there is room for a little.
        """
        found = os.fstat(STANDARD_ERROR)
        if self._behind is not None and os.path.samestat(found, self._behind):
            return
        if self._own is not None:
            os.close(self._own)
        self._behind, self._own = found, None
        if not stat.S_ISREG(found.st_mode):
            with contextlib.suppress(OSError):
                self._own = os.open(f"/proc/self/fd/{STANDARD_ERROR}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)


class SharedFile(logging.Handler):
    """Appends to a file; past `most_bytes` it is renamed to `.1`, `.2` ..., by whichever process comes first.

    Safe for many processes: lines are appended with one write, and the renaming happens under a lock on a neighbour file.
    Raises `OSError` when it cannot be opened. What becomes impossible later costs no line: a file that cannot be renamed grows,
    and what cannot be written goes to standard error.
    """

    def __init__(self, path: Path, most_bytes: int = 20_000_000, keep: int = 5) -> None:
        super().__init__()
        self._path, self._most_bytes, self._keep = path, most_bytes, keep
        self._standard_error, self._has_complained = StandardError(), False
        self._file = self._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line."""
        try:
            line = self.format(record).encode(errors="replace") + b"\n"
        except Exception:
            self.handleError(record)
            return
        try:
            self._follow()
            os.write(self._file, line)
            self._has_complained = False
        except OSError as error:
            self._complain(error, line)

    def _complain(self, error: OSError, line: bytes) -> None:
        said = f"log file {self._path}: {error.strerror}; its lines go to standard error until it can be written\n".encode()
        if self._standard_error.write(line if self._has_complained else said + line):
            self._has_complained = True

    def _open(self) -> int:
        with contextlib.suppress(FileExistsError):  # opening says better what is wrong with a folder that is none
            self._path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def _follow(self) -> None:
        """Keep to the file of that name, whoever renamed or removed it, and rename it when it is full."""
        if self._is_full():
            with contextlib.suppress(OSError), open(f"{self._path}.lock", "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self._is_full():
                    self._rename()
        if not self._is_current():
            former, self._file = self._file, self._open()
            os.close(former)

    def _is_full(self) -> bool:
        found = self._found()
        return found is not None and found.st_size >= self._most_bytes

    def _is_current(self) -> bool:
        found = self._found()
        return found is not None and os.path.samestat(found, os.fstat(self._file))

    def _found(self) -> os.stat_result | None:
        try:
            return self._path.stat()
        except OSError:
            return None

    def _rename(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            older = Path(f"{self._path}.{number}")
            if older.exists():
                os.replace(older, f"{self._path}.{number + 1}")
        os.replace(self._path, f"{self._path}.1")


def set_up_logs(
    level: str, form: str = "auto", file: Path | None = None, scrub: Scrub = lambda line: line, to_console: bool = False
) -> None:
    """Route everything that is logged, by structlog or by the standard library, to one place in one form.

    `form` is `console`, `json`, or `auto`: console on a terminal, JSON elsewhere. Values under names of secrets, and texts
    that look like credentials, are masked; `scrub` gets each whole line, tracebacks included, and returns what is written.
    `to_console`: to standard error even if there is a file. Raises `OSError` when the file cannot be opened.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
    ]
    handlers = [_to_file(file, form, shared, scrub)] if file else []
    if to_console or not file:
        handlers.append(_to_console(form, shared, scrub))
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(max(logging.WARNING, logging.getLevelName(level)))
    set_log_level(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def set_log_level(level: str) -> None:
    """Log nothing of ours that is less important."""
    logging.getLogger("jobqueue").setLevel(level)


def _to_file(file: Path, form: str, shared: list[Processor], scrub: Scrub) -> logging.Handler:
    handler = SharedFile(file)
    handler.setFormatter(_formatter(shared, form == "console", False, scrub))
    return handler


def _to_console(form: str, shared: list[Processor], scrub: Scrub) -> logging.Handler:
    is_terminal = sys.stderr.isatty()
    handler = StandardError()
    handler.setFormatter(_formatter(shared, form == "console" or (form == "auto" and is_terminal), is_terminal, scrub))
    return handler


def _formatter(shared: list[Processor], readable: bool, colors: bool, scrub: Scrub) -> logging.Formatter:
    """The end of the chain: stamp the time, drop what is not for people, write the line, and see that no secret is in it."""

    def clean(logger: Any, method: str, line: str) -> str:
        return mask_credentials(scrub(line))

    last: list[Any] = [
        _clock(readable),
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        _mask_values,
    ]
    if readable:
        # Plain tracebacks: rich ones show the values of variables.
        last.append(structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback))
    else:
        last += [structlog.processors.format_exc_info, _in_order, structlog.processors.JSONRenderer()]
    last.append(clean)
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last)


def _mask_values(logger: Any, method: str, event: EventDict) -> EventDict:
    return {key: _masked(key, value) for key, value in event.items()}


def _masked(key: object, value: Any) -> Any:
    """A value for a log line: text under the name of a secret is masked, at any depth."""
    if isinstance(value, dict):
        return {inner: _masked(inner, each) for inner, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(key, each) for each in value]
    return MASK if isinstance(value, str) and isinstance(key, str) and is_secret(key) else value

def _clock(readable: bool) -> Processor:
    if readable:
        return structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
    return structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts")


def _in_order(logger: object, method: str, event: EventDict) -> EventDict:
    """What every line has comes first."""
    return {**{name: event[name] for name in FIRST if name in event}, **event}
