"""The slot of a worker in shared memory: what it is doing, which claims it holds, and what others tell it.

A board is one anonymous shared mapping made by the supervisor before it forks anyone. Every record has one writer and
any number of readers, and is kept twice with a sequence number and a checksum: a writer killed in mid-write leaves the
older copy readable. All times are seconds of `boot_time()`, which goes on while the machine sleeps and never steps.
"""

from __future__ import annotations

import mmap
import struct
import time
from enum import IntEnum
from typing import NamedTuple
from zlib import crc32

MOST_CLAIMS = 4
"""How many claims one worker can have on its books: the one it works on, the one it asks for, two in doubt."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time() -> float:
    """Seconds since the machine booted, time asleep included; the clock of deadlines and self-fencing."""
    return time.clock_gettime(_CLOCK)


class Phase(IntEnum):
    """What a worker is doing; each phase has its own limit."""

    EMPTY = 0
    STARTING = 1
    IDLE = 2
    DATABASE = 3
    RUNNING = 4
    SETTLING = 5
    LEAVING = 6
    FENCED = 7  # running, inside a fenced transaction, which must be short


class Order(IntEnum):
    """What the supervisor wants of a worker as a whole."""

    WORK = 0
    QUIET = 1
    DRAIN = 2
    STOP = 3


class Cause(IntEnum):
    """Why a running job must stop."""

    NONE = 0
    DEADLINE = 1
    CANCEL = 2
    LEASE = 3


class ClaimState(IntEnum):
    """What a worker says of one claim: nothing, keep it alive, or give back whatever it may hold."""

    NONE = 0
    HELD = 1
    DROPPED = 2


class Activity(NamedTuple):
    """Written by the worker. `job_id`, `lease` and `deadline` are 0 when there is none.

    `asked_at` is since when it has been waiting for the server's answer inside a fenced transaction, 0 when it does not.
    """

    incarnation: int
    pid: int
    phase: int
    since: float
    job_id: int
    lease: int
    deadline: float
    tick: int
    asked_at: float = 0.0


class Claim(NamedTuple):
    """Written by the worker: one claim, by its nonce, and when it was last known good before anything was sent."""

    nonce: bytes
    state: int
    sent_at: float


class Renewal(NamedTuple):
    """Written by maintenance: when the claim's lease was last renewed (0: never), and whether its jobs are gone."""

    nonce: bytes
    renewed_at: float
    gone: int


class Wish(NamedTuple):
    """Written by the supervisor: an order for the worker, and the job that must stop, its lease, and the `Cause`."""

    order: int
    stop_lease: int
    stop_job: int
    cause: int


class Cancel(NamedTuple):
    """Written by maintenance: the running job that somebody asked to cancel, and since when."""

    job_id: int
    lease: int
    since: float


class Pulse(NamedTuple):
    """Written by one thread of maintenance: its last sign of life."""

    at: float
    tick: int


class Record:
    """A fixed run of numbers in shared memory, written by one process and read by others, whole or not at all."""

    _HEAD = struct.Struct("<QI")

    def __init__(self, memory: memoryview, layout: str) -> None:
        self._layout = struct.Struct("<" + layout)
        self._size = self._HEAD.size + self._layout.size
        self._memory = memory[: 2 * self._size]
        self.resume()

    def resume(self) -> None:
        """Go on counting where a former writer of this record stopped; a new writer calls this first."""
        self._sequence = self._newest()[0]

    @staticmethod
    def size(layout: str) -> int:
        """Bytes that a record of this layout takes."""
        return 2 * (Record._HEAD.size + struct.calcsize("<" + layout))

    def write(self, *values: float | bytes) -> None:
        """Replace the older copy; readers see either the former values or these."""
        sequence = self._sequence = self._sequence + 1
        body = self._layout.pack(*values)
        at = self._size if sequence & 1 else 0
        self._memory[at : at + self._size] = self._HEAD.pack(sequence, crc32(body, sequence & 0xFFFFFFFF)) + body

    def read(self) -> tuple[float | bytes, ...] | None:
        """The newest whole copy, or None if nothing was ever written."""
        body = self._newest()[1]
        return self._layout.unpack(body) if body else None

    def _newest(self) -> tuple[int, bytes]:
        """The newest whole copy with its sequence number; the second is looked at only when the first is torn."""
        size, head = self._size, self._HEAD
        copies = [bytes(self._memory[:size]), bytes(self._memory[size : 2 * size])]
        heads = [head.unpack_from(copy) for copy in copies]
        newest = 0 if heads[0][0] > heads[1][0] else 1
        for at in (newest, 1 - newest):
            sequence, checksum = heads[at]
            body = copies[at][head.size :]
            if sequence and checksum == crc32(body, sequence & 0xFFFFFFFF):
                return sequence, body
        return 0, b""


_ACTIVITY = "QIBdqqdQd"
_CLAIMS = "16sBd" * MOST_CLAIMS
_RENEWALS = "16sdB" * MOST_CLAIMS
_WISH = "BqqB"
_CANCEL = "qqd"
_LAPSED = "I"
_PULSE = "dQ"
_NOTHING = Activity(0, 0, Phase.EMPTY, 0.0, 0, 0, 0.0, 0)


class Slot:
    """One worker's place on the board; outlives any one worker."""

    _LAYOUTS = _ACTIVITY, _CLAIMS, _RENEWALS, _WISH, _CANCEL, _LAPSED
    SIZE = sum(map(Record.size, _LAYOUTS))

    def __init__(self, memory: memoryview) -> None:
        self._records = []
        for layout in self._LAYOUTS:
            self._records.append(Record(memory, layout))
            memory = memory[Record.size(layout) :]
        self._activity, self._claims, self._renewals, self._wish, self._cancel, self._lapsed = self._records

    def resume(self) -> None:
        """Go on counting where former writers of this slot's records stopped."""
        for record in self._records:
            record.resume()

    @property
    def activity(self) -> Activity:
        """What the worker last said it was doing."""
        values = self._activity.read()
        return Activity(*values) if values else _NOTHING  # type: ignore[arg-type]

    def act(self, activity: Activity) -> None:
        """Say what the worker is doing (worker only)."""
        self._activity.write(*activity)

    @property
    def claims(self) -> list[Claim]:
        """The claims on the worker's books, those in state NONE left out."""
        flat = self._claims.read() or ()
        found = [Claim(*flat[at : at + 3]) for at in range(0, len(flat), 3)]  # type: ignore[arg-type]
        return [claim for claim in found if claim.state != ClaimState.NONE]

    def book(self, claims: list[Claim]) -> None:
        """Publish the worker's claims, at most MOST_CLAIMS (worker only). Must happen before a claim is sent."""
        blank = [Claim(b"", ClaimState.NONE, 0.0)] * (MOST_CLAIMS - len(claims))
        self._claims.write(*(value for claim in claims + blank for value in claim))

    @property
    def renewals(self) -> dict[bytes, Renewal]:
        """What maintenance last said of this worker's claims, by nonce."""
        flat = self._renewals.read() or ()
        found = [Renewal(*flat[at : at + 3]) for at in range(0, len(flat), 3)]  # type: ignore[arg-type]
        return {renewal.nonce: renewal for renewal in found if renewal.nonce.strip(b"\0")}

    def renew(self, renewals: list[Renewal]) -> None:
        """Publish what became of this worker's leases (maintenance only)."""
        blank = [Renewal(b"", 0.0, 0)] * (MOST_CLAIMS - len(renewals))
        self._renewals.write(*(value for renewal in renewals + blank for value in renewal))

    @property
    def wish(self) -> Wish:
        """What the supervisor wants of the worker."""
        values = self._wish.read()
        return Wish(*values) if values else Wish(Order.WORK, 0, 0, 0)  # type: ignore[arg-type]

    def want(self, wish: Wish) -> None:
        """Say what the worker should do (supervisor only)."""
        self._wish.write(*wish)

    @property
    def cancel(self) -> Cancel:
        """The job that somebody asked to cancel; zeros when none."""
        values = self._cancel.read()
        return Cancel(*values) if values else Cancel(0, 0, 0.0)  # type: ignore[arg-type]

    def ask_to_cancel(self, cancel: Cancel) -> None:
        """Pass on that a running job was asked to end (maintenance only)."""
        self._cancel.write(*cancel)

    @property
    def lapsed(self) -> int:
        """The incarnation that maintenance killed, or tried to, because its lease ran out; 0 for none."""
        values = self._lapsed.read()
        return int(values[0]) if values else 0

    def note_lapsed(self, incarnation: int) -> None:
        """Say that this incarnation is about to be killed because its lease ran out (maintenance only)."""
        self._lapsed.write(incarnation)

    def fenced_at(self, lease_seconds: float) -> float:
        """When the oldest claim held here runs out: `lease_seconds` after it was last known good; infinity for none."""
        renewals = self.renewals
        known = [
            max(claim.sent_at, renewals[claim.nonce].renewed_at if claim.nonce in renewals else 0.0)
            for claim in self.claims
            if claim.state == ClaimState.HELD
        ]
        return min(known) + lease_seconds if known else float("inf")


class Board:
    """All slots of one supervisor, and the two pulses of its maintenance, in one shared mapping."""

    def __init__(self, slots: int) -> None:
        pulse = Record.size(_PULSE)
        self._mapping = mmap.mmap(-1, slots * Slot.SIZE + 2 * pulse)
        memory = memoryview(self._mapping)
        self._pulses = {name: Record(memory[at * pulse :], _PULSE) for at, name in enumerate(("main", "renewal"))}
        memory = memory[2 * pulse :]
        self.slots = [Slot(memory[at * Slot.SIZE : (at + 1) * Slot.SIZE]) for at in range(slots)]

    def resume(self) -> None:
        """Go on where former writers stopped; every forked child calls this before it writes anything."""
        for record in self._pulses.values():
            record.resume()
        for slot in self.slots:
            slot.resume()

    def beat(self, thread: str, tick: int) -> None:
        """Maintenance's `main` or `renewal` thread is alive now."""
        self._pulses[thread].write(boot_time(), tick)

    def pulse(self, thread: str) -> Pulse:
        """The last sign of life of that thread of maintenance."""
        values = self._pulses[thread].read()
        return Pulse(*values) if values else Pulse(0.0, 0)  # type: ignore[arg-type]
