"""The claims on a worker's books: published in its slot before they are sent, so that no claim is ever unknown."""

from __future__ import annotations

import secrets
from collections import deque

from .slot import Claim, ClaimState, Slot, boot_time


class Ledger:
    """One worker's claims: the one it works on, the one it asks for, and those it gave up after a reply was lost."""

    def __init__(self, slot: Slot, process_id: str, lease_seconds: float) -> None:
        self._slot, self._process_id, self._lease_seconds = slot, process_id, lease_seconds
        self._held: Claim | None = None
        self._asked: Claim | None = None
        self._dropped: deque[Claim] = deque(maxlen=2)

    @property
    def tag(self) -> str:
        """The claim tag of what is held; empty when nothing is."""
        return self._tag(self._held)

    def ask(self) -> str:
        """Draw a new nonce, publish it, and return the tag to claim under."""
        self._asked = Claim(secrets.token_hex(8).encode(), ClaimState.HELD, boot_time())
        self._publish()
        return self._tag(self._asked)

    def granted(self, any_jobs: bool) -> None:
        """The reply came: what was held is settled, what was asked for is held now if it brought jobs."""
        self._held, self._asked = (self._asked if any_jobs else None), None
        self._publish()

    def in_doubt(self) -> None:
        """The reply to a claim was lost: whatever the server gave under it must be given back."""
        if self._asked is not None:
            self._dropped.append(self._asked._replace(state=ClaimState.DROPPED))
            self._asked = None
            self._publish()

    def give_up(self) -> None:
        """What is held can not be settled any more: let maintenance give it back."""
        if self._held is not None:
            self._dropped.append(self._held._replace(state=ClaimState.DROPPED))
            self._held = None
            self._publish()

    def settled(self) -> None:
        """Nothing is held any more."""
        self._held = None
        self._publish()

    def fenced_at(self) -> float:
        """When what is held may belong to somebody else, in seconds of `boot_time()`; infinity when nothing is held."""
        return self._slot.fenced_at(self._lease_seconds)

    def _tag(self, claim: Claim | None) -> str:
        return f"{self._process_id}:{claim.nonce.decode()}" if claim else ""

    def _publish(self) -> None:
        known = [claim for claim in (self._held, self._asked) if claim is not None]
        self._slot.book(known + list(self._dropped))
