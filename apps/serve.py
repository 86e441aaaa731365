"""The program that a supervisor runs to serve the API: `python -m apps.serve SOCKET READY`, two descriptors it inherits."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys

import uvicorn
from setproctitle import setproctitle

from config import ConfigError, Logging, find_config, load

from .api import api_app
from .http.server_logs import log_as_said

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
        logging = Logging()
    log_as_said(logging)


if __name__ == "__main__":
    main(sys.argv[1:])
