"""What a long row of the fault matrix is asked to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asked:
    """How long or how often, by which seed, on which database; a row takes of this what it knows of."""

    minutes: float = 1.0
    rounds: int = 200
    seed: int = 1
    backend: str = "sqlite"
