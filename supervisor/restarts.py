"""When a place whose worker died may start another, and when starting is useless: pure functions of their arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """What deaths without a job in hand lead to; seconds.

    The pause doubles from `initial` up to `most`; `budget` deaths within `window` are a crash loop.
    """

    initial: float = 1.0
    most: float = 30.0
    budget: int = 10
    window: float = 300.0


def recent(deaths: Sequence[float], policy: RestartPolicy, now: float) -> list[float]:
    """The deaths of one place that still count, the newest last."""
    return [at for at in deaths if now - at < policy.window]


def start_after(deaths: Sequence[float], policy: RestartPolicy, random: Random) -> float:
    """The moment from which the next worker may start in a place with these recent deaths.

    The first restart is immediate; later ones wait between half of the pause and all of it.
    """
    if len(deaths) < 2:
        return 0.0
    pause = min(policy.most, policy.initial * 2.0 ** min(len(deaths) - 2, 64))
    return deaths[-1] + random.uniform(pause / 2, pause)


def spent(places: Iterable[Sequence[float]], policy: RestartPolicy, now: float) -> bool:
    """True once so many workers died without a job in hand that starting more is useless: a crash loop.

    The first death of each place is forgiven, so that killing all workers of a large pool once does not end it.
    """
    return sum(max(0, len(recent(deaths, policy, now)) - 1) for deaths in places) >= policy.budget
