"""Writes down which tokens are in use: beside the requests, and never in their way."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from sqlalchemy.engine import Engine

from .tokens import note_use

log = structlog.get_logger("jobqueue.api")


class Uses:
    """Notes that were given are written by one thread, which lives only while there are some; what fails is let go."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._given: set[int] = set()
        self._writing = False

    def note(self, token_id: int) -> None:
        """Have it written that this token is in use; returns at once."""
        with self._lock:
            self._given.add(token_id)
            if self._writing:
                return
            self._writing = True
        threading.Thread(target=self._write, name="uses of tokens", daemon=True).start()

    def _write(self) -> None:
        while token_ids := self._take():
            try:
                with self._engine().begin() as connection:
                    note_use(connection, token_ids)
            except Exception as error:  # a token counts whether or not its use can be written down
                log.debug("token.use_unwritten", error=str(error))

    def _take(self) -> list[int]:
        with self._lock:
            taken, self._given = sorted(self._given), set()
            self._writing = bool(taken)
            return taken
