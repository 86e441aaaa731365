"""Log lines: readable ones on a terminal, JSON elsewhere; to standard error, or a file that several processes share."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
from pathlib import Path

import structlog
from structlog.typing import Processor


class SharedFile(logging.Handler):
    """Appends to a file; past `most_bytes` it is renamed to `.1`, `.2` ..., by whichever process comes first.

    Safe for many processes: lines are appended with one write, and the renaming happens under a lock on a neighbour file.
    """

    def __init__(self, path: Path, most_bytes: int = 20_000_000, keep: int = 5) -> None:
        super().__init__()
        self._path, self._most_bytes, self._keep = path, most_bytes, keep
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line."""
        try:
            self._follow()
            os.write(self._file, self.format(record).encode(errors="replace") + b"\n")
        except Exception:
            self.handleError(record)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def _follow(self) -> None:
        """Keep to the file of that name, whoever renamed it, and rename it when it is full."""
        if self._is_full():
            with open(f"{self._path}.lock", "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self._is_full():
                    self._rename()
        if not self._is_current():
            os.close(self._file)
            self._file = self._open()

    def _is_full(self) -> bool:
        found = self._found()
        return found is not None and found.st_size >= self._most_bytes

    def _is_current(self) -> bool:
        found = self._found()
        return found is not None and os.path.samestat(found, os.fstat(self._file))

    def _found(self) -> os.stat_result | None:
        try:
            return self._path.stat()
        except FileNotFoundError:
            return None

    def _rename(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            older = Path(f"{self._path}.{number}")
            if older.exists():
                os.replace(older, f"{self._path}.{number + 1}")
        os.replace(self._path, f"{self._path}.1")


def set_up_logs(level: str, form: str = "auto", file: Path | None = None) -> None:
    """Route everything that is logged, by structlog or by the standard library, to one place in one form.

    `form` is `console`, `json`, or `auto`: console on a terminal, JSON elsewhere.
    """
    readable = form == "console" or (form == "auto" and file is None and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if readable else "iso", utc=not readable),
    ]
    handler: logging.Handler = SharedFile(file) if file else logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_last(readable, file)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
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


def _last(readable: bool, file: Path | None) -> list[Processor]:
    """The end of the chain: drop what is not for people, and write the line."""
    drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if readable:
        return [drop, structlog.dev.ConsoleRenderer(colors=file is None and sys.stderr.isatty())]
    return [drop, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
