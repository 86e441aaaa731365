"""A soak: clients use a world while a plan of faults is done to it; afterwards everything is mended and given time to end."""

from __future__ import annotations

import time
from collections.abc import Iterable

from .faults import Deed, Fault, do
from .world import World

CLIENTS = ("ann", "bob")


def soak(world: World, plan: Iterable[Fault], at_least: int = 0) -> list[Deed]:
    """Do the plan while clients use the world, until so many jobs are completed; returns the faults that were done."""
    world.start()
    for name in CLIENTS:
        world.add_client(name)
    done: list[Deed] = []
    began = time.monotonic()
    for fault in plan:
        time.sleep(max(0.0, began + fault.at - time.monotonic()))
        if deed := do(world, fault):
            done.append(deed)
        _restore(world, fault)
    world.completes(at_least)
    world.mend_for_good()
    world.everybody_claims()
    world.rest()
    world.drain()
    return done


def _restore(world: World, fault: Fault) -> None:
    """A service manager starts again what ended, and so do the users of clients."""
    world.mend()
    if fault.what == "kill client":
        world.add_client(CLIENTS[int(fault.place * len(CLIENTS))])
