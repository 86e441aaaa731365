"""A worker: claims jobs, runs their handlers in its main thread, settles them."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, NoReturn

import structlog
from setproctitle import setproctitle

from backends import DatabaseUnavailable, Job, Kind, Outcome, Queue, RetryPolicy, open_engine, tell_of_waiting

from . import scrubbing
from .batch import Batch, Finished, Helper, handed_back
from .handlers import Handler, HandlerSpec, resolve
from .ledger import Ledger
from .live import LiveContext
from .pace import next_size, pause, to_keep
from .readiness import readable
from .slot import Activity, Order, Phase, Slot, boot_time
from .tallies import Tallies
from .verdicts import outcome_of, stopped

COMPLETED = Outcome(Kind.COMPLETED)
ENDED: dict[Kind, str] = {kind: f"job.{kind}" for kind in Kind if kind is not Kind.CRASHED}
"""The name of the event for each way in which an attempt ends before its worker's eyes."""

ADMIT_EVERY = 4
"""Every so many looks a worker that nobody woke admits for itself all the same: maintenance may be away."""

CAME_BACK = 70
"""Exit code of a process that a handler forked and that came out of it (EX_SOFTWARE of sysexits.h)."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """All a worker must know. Times are seconds; `engine_options` go to `backends.open_engine`."""

    process_id: str
    slot_index: int
    incarnation: int
    database_url: str
    handlers: tuple[HandlerSpec, ...]
    policies: Mapping[str, RetryPolicy] = field(default_factory=dict)
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    heartbeat_interval: float = 5.0
    lock_timeout: float = 30.0
    poll_interval: float = 1.0


def run_worker(settings: WorkerSettings, slot: Slot, wake: int, life: int) -> int:
    """Be a worker until told to leave; returns the exit code. Call it in a freshly forked process.

    `wake`: a byte means that there may be work. `life`: end of file means that the supervisor is gone.
    """
    return Worker(settings, slot, wake, life).run()


class Worker:
    """One incarnation of a worker."""

    def __init__(self, settings: WorkerSettings, slot: Slot, wake: int, life: int) -> None:
        self._settings, self._slot, self._wake, self._life = settings, slot, wake, life
        self._pid = os.getpid()
        self._log = structlog.get_logger("jobqueue.worker").bind(process_id=settings.process_id, pid=self._pid)
        self._told_to_leave = False
        self._tick = 0
        self._current: tuple[int, int, float] = (0, 0, 0.0)
        self._activity = slot.activity
        self._size = 1
        # Of its own name: numbers begin at one on every host, and workers that draw alike would ask the database all at once.
        self._random = Random(f"{settings.process_id} {settings.incarnation}")
        self._handlers: dict[str, Handler] = {}
        self._timeouts = {spec.job_type: spec.timeout or 0.0 for spec in settings.handlers}
        lease = settings.lock_timeout - settings.heartbeat_interval
        self._ledger = Ledger(slot, settings.process_id, lease)
        self._helper = Helper(self._settle_part, settings.lock_timeout)
        self._batch: Batch | None = None
        self._admitting = True
        self._polls = 0
        self._failures = 0
        # Asked once: a line a job, even one that is not written, costs as much as a short job.
        self._talkative = logging.getLogger("jobqueue.worker").isEnabledFor(logging.DEBUG)

    def run(self) -> int:
        """Work until told to leave."""
        self._get_ready()
        while not self._leaving():
            empty_handed = self._batch is None
            batch = self._turn()
            if batch is not None:
                self._work_off(batch)
            elif empty_handed and not self._leaving():
                self._rest()
        self._leave()
        return 0

    def _get_ready(self) -> None:
        self._enter(Phase.STARTING)
        self._signalled = _signal_pipe()
        signal.signal(signal.SIGTERM, self._on_term)
        self._title("starting")
        self._handlers = {spec.job_type: resolve(spec.target) for spec in self._settings.handlers}
        self._types = tuple(self._handlers)
        engine = open_engine(self._settings.database_url, **self._settings.engine_options)
        self._queue = Queue(engine, self._settings.policies, self._random)
        self._tallies = Tallies(self._queue.record)
        tell_of_waiting(self._waits)

    def _on_term(self, number: int, frame: object) -> None:
        self._told_to_leave = True

    def _leaving(self) -> bool:
        return self._told_to_leave or self._slot.wish.order >= Order.DRAIN

    # Claim and settle

    def _turn(self) -> Batch | None:
        """Settle what is finished and claim what is next; None when there is nothing to run."""
        batch, finished = self._batch, self._batch.take_finished() if self._batch else []
        self._current = (0, 0, 0.0)
        self._enter(Phase.SETTLING if finished else Phase.DATABASE)
        if self._slot.wish.order != Order.WORK:
            self._settle_all(batch, finished)
            return None
        tag = self._ledger.ask()
        try:
            cycle = self._queue.settle_and_claim(self._ledger.tag, finished, tag, self._types, self._size, self._admitting)
        except DatabaseUnavailable as error:
            self._failures += 1
            self._unavailable(error)
            self._ledger.in_doubt()
            if batch is not None:
                batch.doubt(finished)
            self._settle_all(batch, finished)
            return None
        self._failures = 0
        self._ledger.granted(bool(cycle.claimed))
        if cycle.kept_apart is not None:
            self._log.warning("lane.overlap", jobs=list(cycle.kept_apart))
        self._settled(batch, finished, cycle.lost)
        self._batch = self._hold(tag, cycle.claimed) if cycle.claimed else None
        return self._batch

    def _hold(self, tag: str, claimed: list[Job]) -> Batch:
        """Take the claim's jobs in hand; what may not be held together with them goes back at once."""
        self._tallies.claimed(claimed)
        self._tell_claimed(claimed)
        keep = to_keep(claimed)
        batch = Batch(tag, claimed[:keep])
        if keep < len(claimed):
            self._size = 1
            batch.put_back(handed_back(claimed[keep:]))
            self._relieve(batch, batch.take_finished())
        return batch

    def _settle_all(self, batch: Batch | None, finished: Finished) -> None:
        """Settle without claiming, again and again while the lease lasts; then give up what is left."""
        wait = 0.05
        while batch is not None and finished:
            self._enter(Phase.SETTLING)
            try:
                self._settled(batch, finished, self._queue.settle(batch.tag, finished))
                break
            except DatabaseUnavailable:
                batch.doubt(finished)
            if boot_time() + wait > self._ledger.fenced_at():
                self._give_up(finished)
                break
            time.sleep(self._random.uniform(wait / 2, wait))
            wait = min(2 * wait, 1.0)
        self._batch = None
        self._ledger.settled()

    def _relieve(self, batch: Batch, finished: Finished) -> None:
        """Settle part of a batch, or leave that for later."""
        try:
            self._settle_part(batch, finished)
        except DatabaseUnavailable:
            batch.put_back(finished)

    def _settle_part(self, batch: Batch, finished: Finished) -> None:
        """Settle part of a batch while it is worked off; called in the helper's thread too. Raises `DatabaseUnavailable`."""
        try:
            self._settled(batch, finished, self._queue.settle(batch.tag, finished))
        except DatabaseUnavailable as error:
            batch.doubt(finished)
            self._unavailable(error)
            raise

    def _settled(self, batch: Batch | None, finished: Finished, lost: list[Job]) -> None:
        lost = batch.surely(lost) if batch is not None and lost else lost
        for job in lost:
            self._log.warning("job.lease_lost", **_named(job))
        self._tallies.settled(finished, lost)

    def _give_up(self, finished: Finished) -> None:
        """Leave the jobs to maintenance, which gives them back."""
        for job, _ in finished:
            self._log.error("job.not_settled", **_named(job))
        self._tallies.given_up(finished)
        self._ledger.give_up()

    def _unavailable(self, error: DatabaseUnavailable) -> None:
        self._log.warning("database.unavailable", reason=str(error))
        self._tallies.database_failed()

    # Run

    def _work_off(self, batch: Batch) -> None:
        """Run the batch's jobs one after the other."""
        self._admitting = True
        began = time.monotonic()
        if not batch.single:
            self._helper.watch(batch)
        laned = False
        while not self._told_to_leave and (job := batch.start()) is not None:
            laned = job.lane is not None
            batch.finish(job, self._attempt(batch, job))
        if not batch.single:
            self._current = (0, 0, 0.0)
            self._enter(Phase.SETTLING)
            self._helper.stop_watching()
        self._size = 1 if laned else next_size(self._size, batch.ran, time.monotonic() - began)

    def _attempt(self, batch: Batch, job: Job) -> Outcome:
        """Run the handler, and turn whatever happened into an outcome."""
        timeout = self._timeouts[job.job_type]
        deadline = boot_time() + timeout if timeout else 0.0
        self._current = (job.id, job.lease, deadline)
        self._enter(Phase.RUNNING)
        if batch.single:
            self._title(f"{job.job_type} {job.id}")
        context = LiveContext(
            self._queue, self._slot, batch.tag, job, deadline, self._enter, self._leaving, self._ledger.fenced_at
        )
        scrubbing.forget()
        began = time.monotonic()
        outcome = _run(self._handlers[job.job_type], context)
        self._tallies.ran(job, time.monotonic() - began)
        if outcome is not COMPLETED or batch.single:
            self._log.info(ENDED[outcome.kind], **_named(job), reason=outcome.reason or None)
        elif self._talkative:
            self._log.debug(ENDED[outcome.kind], **_named(job))
        return outcome

    def _tell_claimed(self, claimed: list[Job]) -> None:
        if self._talkative:
            for job in claimed:
                self._log.debug("job.claimed", **_named(job))

    # Rest and leave

    def _rest(self) -> None:
        """Wait until somebody says there is work, or for about `poll_interval`; longer and longer while the database is away."""
        if self._failures:
            self._hold_off()
            return
        self._enter(Phase.IDLE)
        self._title("idle")
        patience = self._settings.poll_interval * self._random.uniform(0.8, 1.2)
        ready = readable([self._wake, self._life, self._signalled], patience)
        self._hear(ready)
        # Maintenance admits each poll_interval; without its word most looks at an idle queue would cost three times as much.
        self._polls += 1
        self._admitting = self._wake in ready or self._polls % ADMIT_EVERY == 0

    def _hold_off(self) -> None:
        """Wait before the database is asked again, deaf to hints: not idle, so that they go to workers that have a connection."""
        self._enter(Phase.DATABASE)
        self._title("waits for the database")
        over = boot_time() + pause(self._failures, self._settings.lock_timeout, self._random.random())
        while (left := over - boot_time()) > 0 and not self._leaving():
            self._hear(readable([self._life, self._signalled], left))

    def _hear(self, ready: list[int]) -> None:
        """Read what these pipes say: that the supervisor is gone, or nothing but that it is time to look around."""
        if self._life in ready and not os.read(self._life, 1):
            self._told_to_leave = True
        for pipe in (self._wake, self._signalled):
            if pipe in ready:
                os.read(pipe, 4096)

    def _leave(self) -> None:
        """Settle what is finished and hand back what was not started."""
        self._current = (0, 0, 0.0)
        if self._batch is not None:
            waiting = handed_back(self._batch.take_waiting())
            self._settle_all(self._batch, self._batch.take_finished() + waiting)
        self._enter(Phase.LEAVING)
        self._tallies.leave()
        self._queue.engine.dispose()

    def _enter(self, phase: Phase) -> None:
        self._tick += 1
        job_id, lease, deadline = self._current
        self._activity = Activity(
            self._settings.incarnation, self._pid, phase, boot_time(), job_id, lease, deadline, self._tick
        )
        self._say(self._activity)

    def _waits(self, is_waiting: bool) -> None:
        """Inside a fenced transaction tell whose turn it is, so that the job is not charged for a server that is silent."""
        if self._activity.phase is Phase.FENCED:
            self._say(self._activity._replace(asked_at=boot_time()) if is_waiting else self._activity)

    def _say(self, activity: Activity) -> None:
        """Tell what this worker does; a child that a handler forked has no say in that."""
        if os.getpid() == self._pid:
            self._slot.act(activity)

    def _title(self, doing: str) -> None:
        setproctitle(f"jobqueue: worker {self._settings.process_id} [{doing}]")


def _signal_pipe() -> int:
    """The read end of a pipe that each signal writes to: a signal in mid-select only makes Python select again."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def _run(handler: Handler, context: LiveContext) -> Outcome:
    """What the attempt came to, in words that hold no secret it has read."""
    outcome = _came_to(handler, context)
    if outcome is COMPLETED:
        return outcome
    return replace(outcome, reason=scrubbing.scrub(outcome.reason), detail=scrubbing.scrub(outcome.detail))


def _came_to(handler: Handler, context: LiveContext) -> Outcome:
    worker = os.getpid()
    try:
        try:
            handler(context)
        finally:
            if os.getpid() != worker:
                _end_here(worker, context)
        outcome = COMPLETED
        context.write_progress()
    except BaseException as error:
        outcome = outcome_of(error)
    if context.told_to_stop is not None and outcome.kind in (Kind.COMPLETED, Kind.FAILED):
        return stopped(context.told_to_stop)
    return outcome


def _end_here(worker: int, context: LiveContext) -> NoReturn:
    """End a child that the handler forked and that came out of it: nothing beyond is its own, no job, slot or connection.

    Nothing is flushed, for what stands in the buffers was written by the parent, which writes it itself.
    """
    try:
        context.log.error("handler.child_came_back", pid=worker, exc_info=sys.exception())
    finally:
        os._exit(CAME_BACK)


def _named(job: Job) -> dict[str, Any]:
    return {"job_id": job.id, "job_type": job.job_type, "program_id": job.program_id, "attempt": job.lease}
