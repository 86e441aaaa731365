"""The faults of a soak: a plan drawn from a seed alone, and how each one is done to a world."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import psycopg

from workers import boot_time

from .world import Server, World


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done at `at` seconds; `place` (0 to 1) picks whom it hits, and it lasts `lasts` seconds where it lasts."""

    at: float
    what: str
    place: float
    lasts: float


@dataclass(frozen=True, slots=True)
class Deed:
    """A fault that was done, and from when to when it lasted, in seconds since boot."""

    what: str
    began: float
    ended: float


KILLS = ("kill worker", "kill maintenance", "kill supervisor", "kill client")
EVERYWHERE = {
    "kill worker": 34, "kill maintenance": 10, "kill supervisor": 10, "kill client": 8, "stop worker": 8, "stop maintenance": 4,
    "stop supervisor": 4, "drain": 4, "hang up": 3, "database crashes": 6,
}
"""Each fault's share of the whole."""

ON_POSTGRES = EVERYWHERE | {
    "database restarts": 2, "backends are terminated": 4, "connections are cut": 4, "answers are held": 3, "requests are held": 2,
    "commit is not answered": 8, "network is slow": 3,
}


def plan(seed: int, seconds: float, every: float, on_postgres: bool) -> Iterator[Fault]:
    """Faults about `every` seconds apart; the same for the same arguments."""
    random = Random(seed)
    shares = ON_POSTGRES if on_postgres else EVERYWHERE
    at = random.uniform(0, every)
    while at < seconds:
        [what] = random.choices(list(shares), list(shares.values()))
        yield Fault(at, what, random.random(), random.choice([0.1, 0.3, 0.6, 1.0, 2.0, 4.0]))
        at += random.uniform(0.2, 1.8) * every


def do(world: World, fault: Fault) -> Deed | None:
    """Do it; returns None when there was nobody to do it to. What is taken away is given back before this returns."""
    began = boot_time()
    return Deed(fault.what, began, boot_time()) if DEEDS[fault.what](world, fault) else None


def _pick(fault: Fault, pids: list[int]) -> int | None:
    return pids[int(fault.place * len(pids))] if pids else None


def _of_role(world: World, role: str) -> list[int]:
    if role == "client":
        return world.client_pids()
    return [pid for scene in world.scenes for pid in world.processes(scene, role)]


def _kill(role: str) -> Callable[[World, Fault], bool]:
    def kill(world: World, fault: Fault) -> bool:
        return _end(world, _pick(fault, _of_role(world, role)), signal.SIGKILL)

    return kill


def _stop(role: str) -> Callable[[World, Fault], bool]:
    def stop(world: World, fault: Fault) -> bool:
        pid = _pick(fault, _of_role(world, role))
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(fault.lasts)
            os.kill(pid, signal.SIGCONT)
        return True

    return stop


def _drain(world: World, fault: Fault) -> bool:
    return _end(world, _pick(fault, _of_role(world, "supervisor")), signal.SIGTERM)


def _hang_up(world: World, fault: Fault) -> bool:
    running = [scene.status["pid"] for scene in world.scenes if scene.status.get("state") == "running"]
    return _signal(_pick(fault, [pid for pid in _of_role(world, "supervisor") if pid in running]), signal.SIGHUP)


def _end(world: World, pid: int | None, number: int) -> bool:
    if pid is not None:
        world.told_to_end.add(pid)
    return _signal(pid, number)


def _signal(pid: int | None, number: int) -> bool:
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return pid is not None


def _outage(how: str) -> Callable[[World, Fault], bool]:
    def take_away(world: World, fault: Fault) -> bool:
        world.database.take_away(how)
        time.sleep(fault.lasts)
        world.database.give_back()
        return True

    return take_away


def _terminate(world: World, fault: Fault) -> bool:
    others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
    with psycopg.connect(world.database.own_url) as connection:
        [ended] = connection.execute(others).fetchone() or [0]
    return bool(ended)


def _network(**state: float | bool) -> Callable[[World, Fault], bool]:
    def disturb(world: World, fault: Fault) -> bool:
        proxy = _server(world).proxy
        for name, value in state.items():
            setattr(proxy, name, value)
        time.sleep(fault.lasts)
        proxy.heal()
        return True

    return disturb


def _cut(world: World, fault: Fault) -> bool:
    _server(world).proxy.cut()
    return True


def _lose_an_answer(world: World, fault: Fault) -> bool:
    proxy = _server(world).proxy
    before = proxy.lost_answers
    proxy.lose_next_answer()
    time.sleep(fault.lasts)
    return proxy.lost_answers > before


def _server(world: World) -> Server:
    assert isinstance(world.database, Server)
    return world.database


DEEDS: dict[str, Callable[[World, Fault], bool]] = {
    "kill worker": _kill("worker"),
    "kill maintenance": _kill("maintenance"),
    "kill supervisor": _kill("supervisor"),
    "kill client": _kill("client"),
    "stop worker": _stop("worker"),
    "stop maintenance": _stop("maintenance"),
    "stop supervisor": _stop("supervisor"),
    "drain": _drain,
    "hang up": _hang_up,
    "database crashes": _outage("immediate"),
    "database restarts": _outage("fast"),
    "backends are terminated": _terminate,
    "connections are cut": _cut,
    "answers are held": _network(hold_answers=True),
    "requests are held": _network(hold_requests=True),
    "commit is not answered": _lose_an_answer,
    "network is slow": _network(delay=0.1, piece=512),
}
