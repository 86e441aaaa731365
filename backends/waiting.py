"""Who waits for an answer of a database server: each thread may have it told, so that waiting is not taken for hanging."""

from __future__ import annotations

import threading
from collections.abc import Callable

Told = Callable[[bool], None]
"""Called with True when the thread sent something and begins to wait, with False when there was an answer, or will be none."""

_threads = threading.local()


def tell_of_waiting(told: Told) -> None:
    """Have every wait of this thread for a Postgres server told from now on, those of connecting included."""
    _threads.told = told


def waits(is_waiting: bool) -> None:
    """Say that this thread begins to wait for a server, or that it does so no longer."""
    told: Told | None = getattr(_threads, "told", None)
    if told is not None:
        told(is_waiting)
