"""The places for workers and the workers in them: fill the empty, look at the living, bury the dead."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from workers import Activity, Board, Order, Phase, Slot, Wish

from .burials import Burial, bury
from .children import Child, Ending, Nursery
from .events import WorkerLost, WorkerNotStarted, WorkerOverdue, WorkerReady, WorkerStarted, WorkerStopped, tell
from .limits import GENTLE, NEVER, Ground, Limits, Sight, Verdict, judge, lease_ran_out
from .memory import OutOfMemory
from .restarts import RestartPolicy, recent, spent, start_after

Work = Callable[["Place", int], int]
"""What a worker does: called in the child with its place and its incarnation; returns the exit code."""


@dataclass(slots=True)
class Worker:
    """One incarnation, seen from outside. `kill_at` is when patience with it ends; `obeyed`: it leaves, its job is over."""

    child: Child
    incarnation: int
    ready: bool = False
    asked_to_leave: bool = False
    obeyed: bool = False
    killed: bool = False
    verdict: Verdict | None = None
    kill_at: float = NEVER
    tick: int = -1
    tick_at: float = 0.0
    gone_since: float = NEVER
    stopped_since: float = NEVER


@dataclass(slots=True)
class Place:
    """A slot on the board and all that outlives any one worker in it. `wake` is a pipe: its reader looks for work."""

    index: int
    process_id: str
    slot: Slot
    wake: tuple[int, int]
    worker: Worker | None = None
    not_before: float = 0.0
    deaths: list[float] = field(default_factory=list)
    restarts: int = 0
    last_reason: str = ""


class Crew:
    """All places of one supervisor. `wanted` of them, from the front, are to have a worker."""

    def __init__(
        self, nursery: Nursery, board: Board, process_ids: tuple[str, ...], work: Work, life: int, wanted: int,
        random: Random,
    ) -> None:
        self.places = [
            Place(index, process_id, slot, _wake_pipe(nursery))
            for index, (process_id, slot) in enumerate(zip(process_ids, board.slots, strict=True))
        ]
        self.wanted = wanted
        self.order = Order.WORK
        self.work, self.life = work, life
        self.last_reason = ""
        self._nursery, self._random = nursery, random
        self._incarnations = 0
        self._out_of_memory = OutOfMemory()

    @property
    def living(self) -> Iterator[tuple[Place, Worker]]:
        """The places that have a worker, with it."""
        return ((place, place.worker) for place in self.places if place.worker is not None)

    @property
    def all_ready(self) -> bool:
        """True while every wanted place has a worker that can claim and is to stay."""
        workers = [place.worker for place in self.places[: self.wanted]]
        return all(worker is not None and worker.ready and not worker.asked_to_leave for worker in workers)

    # Fill

    def fill_empty_slots(self, now: float) -> list[Child]:
        """Start a worker in every wanted place that is empty and whose pause is over; returns the new processes."""
        return [
            child
            for place in self.places[: self.wanted]
            if place.worker is None and now >= place.not_before
            if (child := self._start(place, now)) is not None
        ]

    def next_start(self) -> float:
        """When the next empty place may be filled; `NEVER` when none waits."""
        return min((place.not_before for place in self.places[: self.wanted] if place.worker is None), default=NEVER)

    def _start(self, place: Place, now: float) -> Child | None:
        self._incarnations += 1
        incarnation = self._incarnations
        place.slot.resume()
        place.slot.book([])
        place.slot.act(Activity(incarnation, 0, Phase.STARTING, now, 0, 0, 0.0, 0))
        place.slot.want(Wish(self.order, 0, 0, 0))
        try:
            child = self._nursery.fork(
                lambda: self.work(place, incarnation), title=f"jobqueue: worker {place.process_id}", now=now,
                keep=[place.wake[0], self.life],
            )
        except OSError as error:
            tell(WorkerNotStarted(place.process_id, str(error)))
            place.not_before = now + 1.0
            return None
        place.worker = Worker(child, incarnation, tick_at=now)
        tell(WorkerStarted(place.process_id, child.pid, incarnation))
        return child

    # Tell

    def give_order(self, order: Order) -> None:
        """Tell all workers to work, to stop claiming, or to leave when they are done."""
        self.order = order
        for place, worker in self.living:
            if not worker.asked_to_leave:
                place.slot.want(Wish(order, 0, 0, 0))

    def ask_to_leave(self, place: Place, kill_at: float) -> None:
        """Let this worker finish what it has in hand and go; at `kill_at` it is made to, and its job handed back."""
        worker = place.worker
        if worker is None or worker.asked_to_leave:
            return
        worker.asked_to_leave = True
        if worker.verdict is None:
            worker.verdict = Verdict(Ground.DRAIN, "handed back: its worker was told to leave")
            worker.kill_at = kill_at
            place.slot.want(Wish(Order.DRAIN, 0, 0, 0))
        worker.child.send(signal.SIGTERM)

    def hand_back_at_once(self) -> None:
        """Kill every worker; what they have in hand goes back unspent."""
        for _, worker in self.living:
            worker.asked_to_leave = True
            if not worker.killed:
                worker.verdict = Verdict(Ground.DRAIN, "handed back: the supervisor was told to stop at once")
                _kill(worker)

    # Look

    def stop_the_overdue(self, limits: Limits, now: float, awake_since: float) -> None:
        """Judge every living worker, and end those that are overdue: first a word where there is time, then a kill."""
        for place, worker in self.living:
            activity = place.slot.activity
            self._note_ready(place, worker, activity)
            if worker.killed:
                continue
            sight = self._see(place, worker, activity, limits, now, awake_since)
            verdict = judge(sight, limits, now)
            if verdict is not None and _outweighs(verdict, worker.verdict):
                self._act_on(place, worker, verdict, limits, now)
            elif not worker.obeyed and self._obeyed(worker, activity):
                self._take_back(place, worker, now + limits.grace)
            elif worker.verdict is not None and now >= worker.kill_at:
                _kill(worker)

    def _note_ready(self, place: Place, worker: Worker, activity: Activity) -> None:
        if not worker.ready and activity.phase not in (Phase.EMPTY, Phase.STARTING):
            worker.ready = True
            tell(WorkerReady(place.process_id, worker.child.pid))

    def _see(
        self, place: Place, worker: Worker, activity: Activity, limits: Limits, now: float, awake_since: float
    ) -> Sight:
        if activity.tick != worker.tick:
            worker.tick, worker.tick_at = activity.tick, now
        worker.stopped_since = min(worker.stopped_since, now) if worker.child.stopped() else NEVER
        gone = {nonce for nonce, renewal in place.slot.renewals.items() if renewal.gone}
        is_gone = any(claim.nonce in gone for claim in place.slot.claims)
        worker.gone_since = min(worker.gone_since, now) if is_gone else NEVER
        return Sight(
            activity, place.slot.fenced_at(limits.lease), worker.gone_since, place.slot.cancel, worker.tick_at,
            worker.stopped_since, awake_since,
        )

    def _act_on(self, place: Place, worker: Worker, verdict: Verdict, limits: Limits, now: float) -> None:
        _blame(worker, verdict)
        job = verdict.job_id or None, verdict.lease or None
        tell(WorkerOverdue(place.process_id, worker.child.pid, str(verdict.ground), verdict.reason, *job))
        if verdict.ground not in GENTLE:
            _kill(worker)
            return
        worker.kill_at = min(worker.kill_at, now + limits.grace)
        order = Order.DRAIN if worker.asked_to_leave else self.order
        place.slot.want(Wish(order, verdict.lease, verdict.job_id, GENTLE[verdict.ground]))
        if verdict.ground is Ground.DEADLINE:
            worker.asked_to_leave = True
            worker.child.send_group(signal.SIGTERM)

    @staticmethod
    def _obeyed(worker: Worker, activity: Activity) -> bool:
        verdict = worker.verdict
        return (
            verdict is not None
            and verdict.ground in GENTLE
            and (activity.job_id, activity.lease) != (verdict.job_id, verdict.lease)
        )

    def _take_back(self, place: Place, worker: Worker, leave_by: float) -> None:
        """The job that had to stop is over; the worker goes on, or, told to leave, has until then to settle it and go."""
        if worker.asked_to_leave:
            worker.obeyed, worker.kill_at = True, max(worker.kill_at, leave_by)
            return
        worker.verdict, worker.kill_at = None, NEVER
        place.slot.want(Wish(self.order, 0, 0, 0))

    def next_kill(self) -> float:
        """When patience with some worker ends."""
        return min((worker.kill_at for _, worker in self.living if not worker.killed), default=NEVER)

    # Bury

    def bury_the_dead(self, limits: Limits, now: float, policy: RestartPolicy) -> list[tuple[Child, Burial]]:
        """Collect the workers that ended, empty their slots, and say what became of each."""
        return [
            (worker.child, self._bury(place, worker, ending, limits, now, policy))
            for place, worker in list(self.living)
            if (ending := self._nursery.reap(worker.child)) is not None
        ]

    def _bury(
        self, place: Place, worker: Worker, ending: Ending, limits: Limits, now: float, policy: RestartPolicy
    ) -> Burial:
        activity = place.slot.activity
        if place.slot.lapsed == worker.incarnation and not worker.killed:
            _blame(worker, lease_ran_out(Sight(activity), limits))
            worker.killed = True
        oom = ending.signal == signal.SIGKILL and not worker.killed and self._out_of_memory.happened()
        verdict = worker.verdict if worker.killed or _is_due(worker, activity) else None
        burial = bury(place.process_id, worker.child.pid, activity, place.slot.claims, ending, verdict, oom)
        as_told = worker.asked_to_leave and not burial.had_a_job
        place.worker = None
        place.last_reason = burial.reason
        self._empty(place, now)
        if not as_told:
            self._count(place, burial, worker, now, policy)
        self._tell(burial, as_told)
        return burial

    def _empty(self, place: Place, now: float) -> None:
        place.slot.resume()
        place.slot.book([])
        place.slot.act(Activity(0, 0, Phase.EMPTY, now, 0, 0, 0.0, 0))

    def _count(self, place: Place, burial: Burial, worker: Worker, now: float, policy: RestartPolicy) -> None:
        """A death with a job in hand is the job's affair; one that the supervisor caused to a ready worker is nobody's."""
        place.restarts += 1
        self.last_reason = f"{place.process_id}: {burial.reason}"
        if burial.had_a_job or (worker.killed and worker.ready):
            return
        place.deaths = [*recent(place.deaths, policy, now), now]
        place.not_before = start_after(place.deaths, policy, self._random)

    def _tell(self, burial: Burial, as_told: bool) -> None:
        if as_told:
            tell(WorkerStopped(burial.process_id, burial.pid, burial.reason))
        else:
            job = burial.death.job_id or None, burial.death.lease or None
            tell(WorkerLost(burial.process_id, burial.pid, burial.reason, *job))

    def crash_looping(self, policy: RestartPolicy, now: float) -> bool:
        """True once starting more workers is useless."""
        return spent((place.deaths for place in self.places), policy, now)


def _outweighs(verdict: Verdict, former: Verdict | None) -> bool:
    """A job's own deadline or cancel comes before a drain; what needs a kill comes before everything."""
    return former is None or former.ground is Ground.DRAIN or verdict.ground not in GENTLE


def _blame(worker: Worker, verdict: Verdict) -> None:
    """A worker dies of what it was first found overdue for; a request to leave, or a verdict on a former job, gives way."""
    former = worker.verdict
    if former is None or former.ground is Ground.DRAIN or (former.job_id, former.lease) != (verdict.job_id, verdict.lease):
        worker.verdict = verdict


def _is_due(worker: Worker, activity: Activity) -> bool:
    """A worker that was told to stop for its job's sake and died of it died of that, whoever was faster; not with another job."""
    verdict = worker.verdict
    return verdict is not None and verdict.ground in GENTLE and activity.job_id in (0, verdict.job_id)


def _kill(worker: Worker) -> None:
    worker.killed = True
    worker.child.send_group(signal.SIGKILL)


def _wake_pipe(nursery: Nursery) -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    nursery.own(*ends)
    return ends
