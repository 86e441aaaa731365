"""A soak: clients use a world while a plan of faults is done to it; afterwards everything is mended and given time to end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from .faults import Fault, do
from .world import World

CLIENTS = ("ann", "bob")


def soak(world: World, plan: Iterable[Fault], at_least: int = 0) -> Counter[str]:
    """Do the plan while clients use the world, until so many jobs are completed; returns how often each fault was done."""
    world.start()
    for name in CLIENTS:
        world.add_client(name)
    done: Counter[str] = Counter()
    began = time.monotonic()
    for fault in plan:
        time.sleep(max(0.0, began + fault.at - time.monotonic()))
        done[fault.what] += do(world, fault)
        _restore(world, fault)
    world.completes(at_least)
    world.rest()
    world.mend()
    world.drain()
    return +done


def _restore(world: World, fault: Fault) -> None:
    """A service manager starts again what ended, and so do the users of clients."""
    world.mend()
    if fault.what == "kill client":
        world.add_client(CLIENTS[int(fault.place * len(CLIENTS))])
