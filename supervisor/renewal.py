"""The renewal thread of maintenance: keeps the leases of living workers alive, and tells them what became of each."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from backends import Queue, Renewed, Sums, tell_of_waiting
from workers import Activity, Board, CancelRequest, Claim, ClaimState, Phase, Renewal, Slot, boot_time

from .limits import Limits
from .lookout import Lookout
from .outages import Outages

BEAT = 0.25
"""Seconds between two signs of life while there is nothing to do."""


class Held(NamedTuple):
    """A claim that deserves renewal. `granted`: its worker certainly had jobs under it when it was looked at."""

    slot: Slot
    claim: Claim
    granted: bool
    activity: Activity


class RenewalThread(threading.Thread):
    """Renews each `heartbeat_interval`, with a connection of its own, so that nothing slow delays a heartbeat."""

    def __init__(
        self, queue: Queue, board: Board, process_ids: Sequence[str], supervisor: int, limits: Limits, random: Random,
        sums: Sums,
    ) -> None:
        super().__init__(name="jobqueue-renewal", daemon=True)
        self._queue, self._board, self._process_ids, self._limits = queue, board, process_ids, limits
        self._lookout = Lookout(board, process_ids, supervisor)
        self._outages = Outages("renewal", min(5.0, limits.heartbeat_interval), random, sums)
        self._over = threading.Event()
        self._tick = 0

    def run(self) -> None:
        """Renew until told to stop."""
        tell_of_waiting(lambda waits: None if waits else self._beat())
        renew_at = 0.0
        while not self._over.wait(max(0.0, min(BEAT, self._limits.patience / 4, renew_at - boot_time()))):
            self._beat()
            began = boot_time()
            if began >= renew_at:
                if held := self._collect(began):
                    self._outages.ask(lambda held=held: self._renew(held))  # type: ignore[misc]
                ask_again_at = self._outages.ask_again_at  # of a former failure, when nobody holds anything any more
                renew_at = ask_again_at if ask_again_at > began else began + self._limits.heartbeat_interval

    def _beat(self) -> None:
        self._tick += 1
        self._board.beat("renewal", self._tick)

    def stop(self) -> None:
        """Let the thread end; it takes at most one database call."""
        self._over.set()

    def _renew(self, held: dict[str, Held]) -> None:
        """Renew these leases and publish the result. Raises `DatabaseUnavailable`."""
        sent_at = boot_time()
        renewed = self._queue.heartbeat(list(held))
        known = {each.tag for each in renewed}
        unknown = [tag for tag, one in held.items() if tag not in known and one.granted]
        gone = set(unknown) - self._queue.held(unknown) if unknown else set()
        self._publish(held, known, gone, sent_at)
        self._pass_on_cancels(held, renewed, sent_at)

    def _collect(self, now: float) -> dict[str, Held]:
        """The claims of living workers, by tag. Claims read while the activity stood still in a handler were granted."""
        found = {}
        for index, slot in self._lookout.renewable(now, self._limits.patience):
            before, claims, after = slot.activity, slot.claims, slot.activity
            granted = before == after and before.phase in (Phase.RUNNING, Phase.FENCED)
            for claim in claims:
                if claim.state == ClaimState.HELD:
                    tag = f"{self._process_ids[index]}:{claim.nonce.decode()}"
                    found[tag] = Held(slot, claim, granted, after)
        return found

    @staticmethod
    def _publish(held: dict[str, Held], known: set[str], gone: set[str], sent_at: float) -> None:
        by_slot: dict[int, tuple[Slot, list[Renewal]]] = {}
        for tag, one in held.items():
            former = one.slot.renewals.get(one.claim.nonce)
            renewed_at = sent_at if tag in known else former.renewed_at if former else 0.0
            _, renewals = by_slot.setdefault(id(one.slot), (one.slot, []))
            renewals.append(Renewal(one.claim.nonce, renewed_at, int(tag in gone)))
        for slot, renewals in by_slot.values():
            slot.renew(renewals)

    @staticmethod
    def _pass_on_cancels(held: dict[str, Held], renewed: Sequence[Renewed], sent_at: float) -> None:
        for each in renewed:
            slot = held[each.tag].slot
            if each.cancel_requested and (each.job_id, each.lease) == (slot.activity.job_id, slot.activity.lease):
                slot.ask_to_cancel(CancelRequest(each.job_id, each.lease, sent_at))
