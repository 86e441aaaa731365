"""Waits until one of some descriptors can be read, however high their numbers: `select` knows none above 1023."""

from __future__ import annotations

import select
from collections.abc import Iterable


def readable(descriptors: Iterable[int], seconds: float) -> list[int]:
    """Those that can be read without waiting, their end included; empty when none could within `seconds`."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(max(0.0, 1000 * seconds))]
