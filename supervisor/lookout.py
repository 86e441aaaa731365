"""The workers as maintenance sees them: by their slots, and by pidfds, for it is not their parent."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workers import Activity, Board, ClaimState, Phase, Slot

from .children import WITH_PIDFDS, is_alive, is_child, is_stopped, kill_group, open_watch
from .limits import NEVER, Limits


@dataclass(slots=True)
class Seen:
    """One incarnation of a worker."""

    incarnation: int
    pid: int
    pidfd: int | None
    stopped_since: float = NEVER


class Lookout:
    """Knows which workers live. Used by one thread of maintenance; the other has its own."""

    def __init__(self, board: Board, process_ids: Sequence[str], supervisor: int) -> None:
        self._board, self._process_ids, self._supervisor = board, process_ids, supervisor
        self._seen: dict[int, Seen] = {}

    def living(self) -> Iterator[tuple[int, Slot, Activity]]:
        """The places whose worker lives: index, slot, and what it says it does."""
        for index, slot in enumerate(self._board.slots):
            activity = slot.activity
            if activity.phase != Phase.EMPTY and activity.pid and not self._is_dead(index, activity):
                yield index, slot, activity

    def renewable(self, now: float, patience: float) -> Iterator[tuple[int, Slot]]:
        """The places whose claims deserve to be kept alive: the worker lives, and was not stopped for long.

        A worker that nobody kills although it is stopped, because the supervisor is stopped with it, must not keep its jobs.
        """
        for index, slot, activity in self.living():
            seen = self._seen[index]
            seen.stopped_since = min(seen.stopped_since, now) if is_stopped(activity.pid) else NEVER
            if now - seen.stopped_since < patience:
                yield index, slot

    def idle(self) -> list[int]:
        """The places whose worker waits for work."""
        return [index for index, slot in enumerate(self._board.slots) if slot.activity.phase == Phase.IDLE]

    def is_busy(self) -> bool:
        """True while some worker does something."""
        return any(slot.activity.phase not in (Phase.EMPTY, Phase.IDLE) for slot in self._board.slots)

    def tags(self, state: ClaimState | None = None) -> set[str]:
        """The claim tags on all books, in this state or in any."""
        return {
            f"{self._process_ids[index]}:{claim.nonce.decode()}"
            for index, slot in enumerate(self._board.slots)
            for claim in slot.claims
            if state is None or claim.state == state
        }

    def fence(self, limits: Limits, now: float) -> list[tuple[str, int]]:
        """Kill the workers whose lease ran out a while ago, for the supervisor should have; returns whom."""
        late = min(1.0, limits.heartbeat_interval / 2)
        overdue = [
            (index, slot, activity) for index, slot, activity in self.living() if now >= slot.fenced_at(limits.lease) + late
        ]
        for _, slot, activity in overdue:
            slot.note_lapsed(activity.incarnation)
            kill_group(activity.pid)
        return [(self._process_ids[index], activity.pid) for index, _, activity in overdue]

    def kill_all(self) -> int:
        """Kill every worker's process group, of the dead ones too; returns how many workers there were.

        A number that has gone to a stranger is left alone: what is left of a worker's group would have kept it.
        """
        everybody = [(index, slot.activity) for index, slot in enumerate(self._board.slots) if slot.activity.pid]
        for index, activity in everybody:
            strangers = WITH_PIDFDS and self._is_dead(index, activity) and is_alive(activity.pid)
            if not strangers:
                kill_group(activity.pid)
        return len(everybody)

    def any_alive(self) -> bool:
        """True while some worker is not gone yet."""
        return any(True for _ in self.living())

    def _is_dead(self, index: int, activity: Activity) -> bool:
        seen = self._seen.get(index)
        if seen is None or (seen.incarnation, seen.pid) != (activity.incarnation, activity.pid):
            seen = self._meet(index, activity)
        if seen.pidfd is None:
            return not is_child(activity.pid, self._supervisor)
        poll = select.poll()
        poll.register(seen.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def _meet(self, index: int, activity: Activity) -> Seen:
        former = self._seen.get(index)
        if former is not None and former.pidfd is not None:
            os.close(former.pidfd)
        seen = Seen(activity.incarnation, activity.pid, open_watch(activity.pid, self._supervisor))
        self._seen[index] = seen
        return seen
