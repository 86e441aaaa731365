"""The supervisor's end of maintenance: keep one alive, tell it of deaths until it confirms, let it leave last."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backends import Death
from workers import Board

from .burials import as_message
from .channel import Channel
from .children import Child, Nursery
from .events import MaintenanceLost, MaintenanceStarted, tell
from .limits import Limits
from .restarts import RestartPolicy, recent

TELL_AGAIN = 1.0
"""Seconds after which a death that was not confirmed is told again."""

PAUSE = 1.0
"""Seconds between two starts of a maintenance that keeps dying."""

THREADS = ("main", "renewal")

Upkeep = Callable[[Channel], int]
"""What maintenance does: called in the child with its end of the channel; returns the exit code."""


class Liaison:
    """At most one maintenance at a time: its records on the board have one writer."""

    def __init__(self, nursery: Nursery, board: Board, upkeep: Upkeep, wakes: Sequence[int]) -> None:
        self.upkeep, self.wakes = upkeep, wakes
        self.child: Child | None = None
        self.leaving = False
        self._nursery, self._board = nursery, board
        self._channel: Channel | None = None
        self._untold: dict[int, Death] = {}
        self._told_at: dict[int, float] = {}
        self._numbers = 0
        self._starts: list[float] = []
        self._killed_because = ""

    @property
    def descriptors(self) -> list[int]:
        """What wakes the supervisor when maintenance speaks or ends."""
        own = [self._channel.descriptor] if self._channel else []
        return own + ([self.child.pidfd] if self.child and self.child.pidfd is not None else [])

    @property
    def unconfirmed(self) -> int:
        """How many deaths maintenance has not confirmed."""
        return len(self._untold)

    def keep_alive(self, now: float) -> bool:
        """Start maintenance if there is none; True if it was started just now."""
        policy = RestartPolicy()
        if self.child is not None or self.leaving or now < self.next_start():
            return False
        self._starts = [*recent(self._starts, policy, now), now]
        self._killed_because = ""
        try:
            self.child, self._channel = self._start(now)
        except OSError as error:
            tell(MaintenanceLost(0, f"could not be started: {error}"))
            return False
        self._told_at.clear()
        tell(MaintenanceStarted(self.child.pid))
        return True

    def _start(self, now: float) -> tuple[Child, Channel]:
        """One more, and our end of the channel to it; raises `OSError` and leaves nothing behind when the system refuses it."""
        ours, theirs = Channel.pair()
        self._nursery.own(ours.descriptor)
        try:
            return self._nursery.fork(
                lambda: self.upkeep(theirs), title="jobqueue: maintenance", now=now,
                keep=[theirs.descriptor, *self.wakes], outlives=True,
            ), ours
        except OSError:
            self._drop(ours)
            raise
        finally:
            theirs.close()

    def next_start(self) -> float:
        """From when the next one may be started: at once, unless the last ones came shortly before."""
        return self._starts[-2] + 2 * PAUSE if len(self._starts) > 1 else 0.0

    def announce(self, death: Death) -> None:
        """Have this death known, however long it takes."""
        if death.tags or death.job_id:
            self._numbers += 1
            self._untold[self._numbers] = death

    def speak(self, now: float) -> list[dict[str, Any]]:
        """Tell what is not confirmed, and return what maintenance said."""
        if self._channel is None:
            return []
        messages = self._channel.receive()
        for message in messages:
            self._untold.pop(message.get("confirms", 0), None)
        for number, death in self._untold.items():
            if now - self._told_at.get(number, -TELL_AGAIN) >= TELL_AGAIN:
                self._told_at[number] = now
                self._channel.send({"death": number, **as_message(death)})
        self._channel.flush()
        return messages

    def pass_on(self, status: Mapping[str, Any]) -> None:
        """Have the database know how this supervisor is, at the next heartbeat."""
        if self._channel is not None:
            self._channel.send({"status": dict(status)})

    def let_leave(self, for_good: bool) -> None:
        """Ask it to go: `for_good` when nothing is left to do, else to make room for one with new settings."""
        self.leaving = self.leaving or for_good
        if self._channel is not None:
            self._channel.send({"order": "leave" if for_good else "make room"})

    def watch(self, limits: Limits, now: float, awake_since: float) -> None:
        """Kill a maintenance of which a thread gives no sign of life, hung or stopped; `bury` sees it die."""
        if self.child is None or self._killed_because:
            return
        since = max(self.child.started_at, awake_since)
        silent = {name: now - max(self._board.pulse(name).at, since) for name in THREADS}
        slowest = max(silent, key=lambda name: silent[name])
        if silent[slowest] >= limits.patience:
            self.kill(f"its {slowest} thread gave no sign of life for {silent[slowest]:.1f} s")

    def kill(self, because: str) -> None:
        """End it at once."""
        self._killed_because = because
        if self.child is not None:
            self.child.send_group(signal.SIGKILL)

    def bury(self) -> Child | None:
        """The child, if it ended; what it did not confirm is told to the next one."""
        if self.child is None or (ending := self._nursery.reap(self.child)) is None:
            return None
        dead, self.child = self.child, None
        if self._channel is not None:
            for message in self._channel.receive():
                self._untold.pop(message.get("confirms", 0), None)
            self._drop(self._channel)
            self._channel = None
        if ending.signal or ending.exit_code:
            tell(MaintenanceLost(dead.pid, self._killed_because or f"ended with {ending}"))
        return dead

    def _drop(self, channel: Channel) -> None:
        self._nursery.disown(channel.descriptor)
        channel.close()
