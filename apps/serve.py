"""The program that a supervisor runs to serve the API: `python -m apps.serve SOCKET READY`, two descriptors it inherits."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys

import uvicorn
from setproctitle import setproctitle

from config import ConfigError, find_config, load, set_up_logs
from workers import scrub

from .api import api_app

LEAVE_WITHIN = 5
"""Seconds that requests under way may take once the supervisor says that it is time to go."""


class _Server(uvicorn.Server):
    """Says on a descriptor when it answers."""

    def __init__(self, config: uvicorn.Config, ready: int) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        os.write(self._ready, b"!")
        os.close(self._ready)


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM."""
    listening, ready = map(int, arguments)
    setproctitle("jobqueue: api")
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    _set_up_logs()
    config = uvicorn.Config(
        api_app, lifespan="on", log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=LEAVE_WITHIN,
    )
    _Server(config, ready).run(sockets=[socket.socket(fileno=listening)])


def _set_up_logs() -> None:
    """Log as the supervisor does; a file that became unreadable meanwhile keeps nobody from answering."""
    try:
        logging = load(find_config(None)).settings.logging
    except ConfigError:
        set_up_logs("INFO", scrub=scrub)
    else:
        set_up_logs(logging.level, logging.format, logging.file, scrub)


if __name__ == "__main__":
    main(sys.argv[1:])
