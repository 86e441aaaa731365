"""What tests share: where the project is, a free port, waiting for something to become true, and leaving no process behind."""

from __future__ import annotations

import contextlib
import ctypes
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

REPOSITORY = Path(__file__).resolve().parents[1]
PR_SET_PDEATHSIG = 1

T = TypeVar("T")


def free_port() -> int:
    """A loopback port that nothing is bound to, out of a range from which the kernel hands out none by itself."""
    for port in random.SystemRandom().sample(range(10_000, 20_000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("of a hundred ports none was free")


def comes_true(predicate: Callable[[], object], within: float = 10.0, every: float = 0.02) -> bool:
    """Whether `predicate` returns something true within so many seconds: for an assertion that says itself what is broken."""
    deadline = time.monotonic() + within
    while not predicate():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def eventually(predicate: Callable[[], T], within: float = 10.0, every: float = 0.02) -> T:
    """Call `predicate` until it returns something true, and return that; fail with its last answer after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {getattr(predicate, '__name__', predicate)} said {answer!r}")
        time.sleep(every)


def passes(seconds: float) -> None:
    """Let so much time pass."""
    over = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > over, within=seconds + 60)


def die_with_parent(by: signal.Signals) -> None:
    """Have the kernel send this process that signal when its parent ends; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, by, 0, 0, 0)
