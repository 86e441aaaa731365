"""uvicorn's own log lines, in the form of all others when it is started as `python -m uvicorn apps.api:api_app`."""

from __future__ import annotations

import logging
from collections.abc import Callable

import structlog
from uvicorn.logging import ColourizedFormatter

from config import ConfigError, Logging, set_up_logs
from workers import scrub

log = structlog.get_logger("jobqueue.api")
OURS_NOW = ("uvicorn", "uvicorn.error", "uvicorn.asgi")


def log_as_said(wanted: Logging) -> None:
    """Log as `logging:` says; to standard error when its file cannot be written, for the API starts all the same."""
    try:
        set_up_logs(wanted.level, wanted.format, wanted.file, scrub)
    except OSError as error:
        set_up_logs(wanted.level, wanted.format, None, scrub)
        log.error("logs.file_not_used", file=str(wanted.file), reason=error.strerror)


def adopt_server_logs(said: Callable[[], Logging]) -> None:
    """Send what uvicorn logs where `logging:` says, if it logs in its own default form; another form is somebody's choice.

    uvicorn sets up its logs before it imports the application, so this is called by the import, and when the application
    starts. Its access log holds query strings: `AccessLog` takes its place.
    """
    server, access = logging.getLogger("uvicorn"), logging.getLogger("uvicorn.access")
    if not any(isinstance(handler.formatter, ColourizedFormatter) for handler in server.handlers):
        return
    try:
        wanted = said()
    except ConfigError:  # the API starts all the same, and answers what is wrong
        wanted = Logging()
    log_as_said(wanted)
    for name in OURS_NOW:
        each = logging.getLogger(name)
        each.handlers.clear()
        each.propagate = True
        each.setLevel(logging.NOTSET)
    server.setLevel(wanted.level)
    access.handlers.clear()
    access.propagate = False
