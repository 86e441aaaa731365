"""Near sight: on Postgres claims look near, as if somebody's transaction made looking at all ready jobs dear all the time."""

from __future__ import annotations

from pathlib import Path

from backends.job import Job
from backends.looks import Ask, Looks, Near

PAUSE = 1.0
"""Seconds between two whole looks."""


def make_near_sighted(notes: Path) -> None:
    """From now on for this process and its forks. Each near look that found something adds a byte to `notes`."""
    look = Looks._timed

    def noted(looks: Looks, ask: Ask, limit: int, settled: int, near: Near | None) -> list[Job]:
        claimed = look(looks, ask, limit, settled, near)
        if near and claimed:
            with notes.open("ab") as file:
                file.write(b".")
        return claimed

    Looks._timed = noted  # type: ignore[method-assign]
    Looks._pause = lambda looks: PAUSE  # type: ignore[method-assign]
