"""Maintenance: the database side of supervision, in a process of its own that leaves last."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from backends import (
    DatabaseUnavailable,
    Death,
    LaneDisagreement,
    Queue,
    Settled,
    SupervisorReport,
    checkpoint,
    log_size,
    open_engine,
    tell_of_waiting,
)
from config import Settings
from workers import Board, ClaimState, boot_time, readable

from . import plan
from .burials import from_message
from .channel import Channel
from .events import (
    ChoreFailed,
    JobReclaimed,
    JobsHeldBack,
    JobsReleased,
    LanesDisagree,
    SupervisorVanished,
    WorkerFenced,
    tell,
)
from .hints import Hints
from .limits import NEVER
from .log_watch import LogWatch
from .lookout import Lookout
from .outages import Outages
from .renewal import RenewalThread
from .tallies import RECORD_EVERY, Tallies

PRUNE_EVERY = 60.0
PRUNE_AT_ONCE = 500
LANES_EVERY = 10.0
"""Seconds between two looks for lanes that stand still since another program took their head away."""

OLD_SECRETS_EVERY = 0.1
"""Seconds between two looks at jobs of an older schema, while there are any: ten million take an hour, and hold nobody up."""

TIDY_EVERY = 1.0
"""Seconds between two times of folding counters and of moving SQLite's log into the database."""

AGREE_EVERY = 10.0
"""Seconds between two tries to make job types known while another supervisor gives one of them another lane."""

BUSY_LOOK = 0.01
"""Seconds between two looks while no worker is idle."""

OWN_COMMITS = 0.01
"""Seconds between two looks for hints while workers are busy: on SQLite most changes are then their own commits."""

LAST_TRY = 2.0
"""Seconds that maintenance tries to give back what is held before it leaves without having reached the database."""

_GIVEN_BACK = "its worker dropped the claim: the database did not answer in time"


def run(
    settings: Settings, identity: plan.Identity, board: Board, process_ids: Sequence[str], wakes: Sequence[int],
    channel: Channel,
) -> int:
    """Be maintenance until the supervisor lets it leave or is gone; returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    # A number that belongs to something else here, the database file say, must never be written to.
    assert all(stat.S_ISFIFO(os.fstat(wake).st_mode) for wake in wakes), "not the wake pipes"
    options = plan.maintenance_engine_options(settings)
    queues = [Queue(open_engine(settings.database_url, **options), plan.policies_of(settings)) for _ in range(2)]
    random = Random()
    maintenance = Maintenance(settings, identity, board, process_ids, wakes, channel, queues[0], random)
    renewal = RenewalThread(
        queues[1], board, process_ids, identity.pid, plan.limits_of(settings), random, maintenance.tallies.sums
    )
    renewal.start()
    try:
        return maintenance.run()
    finally:
        renewal.stop()


def _always() -> bool:
    return True


@dataclass(slots=True)
class Chore:
    """Something to ask of the database again and again, when it is due and `wanted`; `every` seconds.

    `is_vital`: claims depend on it, so an error that nobody foresaw ends maintenance, and a fresh one tries. Any other chore
    that meets one is `failing`, and is tried at its next turn.
    """

    do: Callable[[], None]
    every: float
    due_at: float = 0.0
    wanted: Callable[[], bool] = _always
    is_vital: bool = False
    failing: str = ""


class Maintenance:
    """The main thread: hears of deaths, takes back, admits, wakes, reports, prunes. One database call at a time."""

    def __init__(
        self, settings: Settings, identity: plan.Identity, board: Board, process_ids: Sequence[str],
        wakes: Sequence[int], channel: Channel, queue: Queue, random: Random,
    ) -> None:
        self._settings, self._identity, self._board, self._wakes = settings, identity, board, wakes
        self._channel, self._queue = channel, queue
        self._limits = plan.limits_of(settings)
        self._lookout = Lookout(board, process_ids, identity.pid)
        self.tallies = Tallies(queue)
        self._outages = Outages("maintenance", 5.0, random, self.tallies.sums)
        self._hints = Hints(queue.engine)
        self._log = LogWatch()
        self._deaths: dict[int, Death] = {}
        self._outstanding: dict[str, float] = {}
        self._dropped: set[str] = set()
        self._status: Mapping[str, Any] = {}
        self._order = self._disagreement = ""
        self._tick = 0
        self._folding = True
        heartbeat, poll = settings.heartbeat_interval, settings.poll_interval
        self._register = Chore(self._make_known, NEVER, is_vital=True)
        self._admit = Chore(self._admit_and_wake, poll, is_vital=True)
        self._release = Chore(
            self._release_outstanding, heartbeat, wanted=lambda: bool(self._outstanding), is_vital=True
        )
        self._prune = Chore(self._prune_a_batch, PRUNE_EVERY, boot_time() + PRUNE_EVERY * random.random())
        self._sweep = Chore(self._sweep_secrets, PRUNE_EVERY, self._prune.due_at)
        self._revive = Chore(self._revive_lanes, LANES_EVERY, boot_time() + LANES_EVERY * random.random())
        self._old_secrets = Chore(self._take_old_secrets, PRUNE_EVERY)
        self._bury = Chore(self._reclaim_the_dead, 0.0, wanted=lambda: bool(self._deaths), is_vital=True)
        self._fold = Chore(self._fold_counts, TIDY_EVERY, wanted=lambda: self._folding or self._lookout.is_busy())
        self._chores = [
            self._register,
            self._bury,
            self._release,
            self._admit,
            Chore(self._reclaim_expired, heartbeat, is_vital=True),
            Chore(self._report, heartbeat),
            self._fold,
            Chore(self._checkpoint, TIDY_EVERY, wanted=lambda: queue.engine.dialect.name == "sqlite"),
            self._prune,
            self._sweep,
            self._revive,
            self._old_secrets,
            Chore(self.tallies.record, RECORD_EVERY, wanted=lambda: bool(self.tallies.sums)),
        ]

    def run(self) -> int:
        """Serve until told to leave or left alone."""
        # Each answer is a sign of life: how long a chore takes is up to the network, how long an answer may take is not.
        tell_of_waiting(lambda waits: None if waits else self._beat())
        while True:
            self._attend()
            if self._channel.closed:
                return self._end_with_the_supervisor()
            if self._order:
                return self._leave()
            self._do_what_is_due()
            self._wait()

    def _attend(self) -> None:
        """What must not wait until all that is due was done."""
        self._beat()
        self._hear()
        self._look()

    def _beat(self) -> None:
        self._tick += 1
        self._board.beat("main", self._tick)

    # Hear and look

    def _hear(self) -> None:
        """Take down what the supervisor says."""
        for message in self._channel.receive():
            if "death" in message:
                self._deaths[message["death"]] = from_message(message)
            if "status" in message:
                self._status = message["status"]
                self.tallies.hear(self._status)
            self._order = message.get("order", self._order)

    def _look(self) -> None:
        """See what workers dropped, and whether any outlived its lease."""
        now = boot_time()
        dropped = self._lookout.tags(ClaimState.DROPPED)  # they stay on the books until others take their place there
        self._expect(*(dropped - self._dropped))
        self._dropped = dropped
        for process_id, pid in self._lookout.fence(self._limits, now):
            tell(WorkerFenced(process_id, pid))

    def _expect(self, *tags: str) -> None:
        """The server may still commit a claim under these tags: release them at once, and again for a while."""
        if tags:
            self._outstanding |= dict.fromkeys(tags, boot_time() + self._settings.lock_timeout)
            self._release.due_at = 0.0

    # Chores

    def _do_what_is_due(self) -> None:
        """Do each chore whose time has come, and between them what others wait for; none while the database is away."""
        for chore in self._chores:
            for each in (self._bury, self._release, chore):
                if self._is_told_to_end or not self._do_if_due(each):
                    return

    @property
    def _is_told_to_end(self) -> bool:
        return bool(self._order) or self._channel.closed

    def _do_if_due(self, chore: Chore) -> bool:
        """False when the database is away."""
        now = boot_time()
        if now < self._outages.ask_again_at:
            return False
        if now >= chore.due_at and chore.wanted():
            chore.due_at = now + chore.every
            if not self._outages.ask(lambda: self._do(chore)):
                chore.due_at = 0.0
            self._attend()
        return True

    @staticmethod
    def _do(chore: Chore) -> None:
        """Do it; what goes wrong with one that no claim depends on is told, and keeps nobody from the others."""
        try:
            chore.do()
            chore.failing = ""
        except DatabaseUnavailable:
            raise
        except Exception as error:
            if chore.is_vital:
                raise
            if chore.failing != (reason := f"{type(error).__name__}: {error}"):
                chore.failing = reason
                name = chore.do.__name__.strip("_")
                tell(ChoreFailed(name, reason, "".join(traceback.format_exception(error))))

    def _make_known(self) -> None:
        """Say what the job types are. Where another supervisor disagrees, its lanes stand, and leases are renewed."""
        try:
            self._queue.register(plan.facts_of(self._settings), self._identity.id, self._settings.lock_timeout)
        except LaneDisagreement as error:
            self._register.due_at = boot_time() + AGREE_EVERY
            if self._disagreement != (problem := str(error)):
                self._disagreement = problem
                tell(LanesDisagree(problem))

    def _reclaim_the_dead(self) -> None:
        while self._deaths:
            number = next(iter(self._deaths))
            death = self._deaths[number]
            self._reclaimed(self._queue.reclaim(death), death.pid)
            del self._deaths[number]
            self._channel.send({"confirms": number})
            self._expect(*death.tags)
            self._beat()

    def _release_outstanding(self) -> None:
        now = boot_time()
        given_back = self._queue.release(list(self._outstanding), _GIVEN_BACK, False)
        self._outstanding = {tag: until for tag, until in self._outstanding.items() if until > now}
        if given_back:
            tell(JobsReleased(given_back, _GIVEN_BACK))
            self._wake(given_back)

    def _reclaim_expired(self) -> None:
        self._reclaimed(self._queue.reclaim_expired(self._settings.lock_timeout))

    def _reclaimed(self, settled: Sequence[Settled], pid: int | None = None) -> None:
        self.tallies.reclaimed(settled)
        for each in settled:
            job = each.job_id, each.job_type, each.program_id, each.lease
            tell(JobReclaimed(*job, each.process_id, pid, str(each.status), str(each.kind), each.reason))
        if settled:
            self._wake(len(settled))
            self._admit.due_at = 0.0

    def _admit_and_wake(self) -> None:
        self._wake(self._queue.admit())
        due_in = self._queue.next_due()
        if due_in is not None:
            self._admit.due_at = min(self._admit.due_at, boot_time() + due_in)

    def _wake(self, jobs: int) -> None:
        """Have as many idle workers look for work."""
        for index in self._lookout.idle()[:jobs]:
            with contextlib.suppress(OSError):  # it is full of words nobody has read yet, or the supervisor is gone with all
                os.write(self._wakes[index], b"!")

    def _report(self) -> None:
        own = self._identity
        lanes = {name: kind.lane for name, kind in self._settings.job_types.items()}
        lasts = self._settings.lock_timeout
        self._queue.report(SupervisorReport(own.id, own.host, own.pid, own.started_at, lanes, self._status, lasts))

    def _fold_counts(self) -> None:
        self._folding = self._queue.fold_counts() > 0

    def _checkpoint(self) -> None:
        checkpoint(self._queue.engine)
        self._log.look(log_size(self._queue.engine) or 0, boot_time())

    def _prune_a_batch(self) -> None:
        pruned = self._queue.prune(plan.retention_of(self._settings), PRUNE_AT_ONCE)
        if pruned.gone and not pruned.is_over:
            self._prune.due_at = boot_time() + TIDY_EVERY
        for constraint, jobs in pruned.held_back.items():
            tell(JobsHeldBack(constraint, jobs))

    def _sweep_secrets(self) -> None:
        if self._queue.sweep_secrets(PRUNE_AT_ONCE) == PRUNE_AT_ONCE:
            self._sweep.due_at = boot_time() + TIDY_EVERY

    def _revive_lanes(self) -> None:
        if revived := self._queue.revive_lanes():
            self._wake(revived)
            self._revive.due_at = boot_time() + TIDY_EVERY

    def _take_old_secrets(self) -> None:
        if self._queue.take_old_secrets():
            self._old_secrets.due_at = boot_time() + OLD_SECRETS_EVERY

    # Wait

    def _wait(self) -> None:
        """Sleep until the supervisor speaks, there may be new work, or something is due."""
        idle = bool(self._lookout.idle())
        until = self._next_due(idle)
        busy = self._lookout.is_busy()
        while (left := until - boot_time()) > 0:
            busy = busy and self._lookout.is_busy()
            interval = max(self._hints.interval, OWN_COMMITS if busy else 0.0)
            listening = self._hints.descriptors if idle else []
            ready = readable([self._channel.descriptor, *listening], min(left, interval) if idle else left)
            if self._channel.descriptor in ready:
                return
            if idle and (hinted := self._hints.take()):
                self._wake(hinted)  # a woken worker admits for itself when it finds nothing ready, so it need not wait for us
                self._admit.due_at = self._fold.due_at = 0.0
                self._folding = True
                return

    def _next_due(self, idle: bool) -> float:
        """When to look around again: soon while all workers are busy, for the first that rests wants to hear of new work."""
        now = boot_time()
        due = min((chore.due_at for chore in self._chores if chore.wanted()), default=NEVER)
        return min(max(due, self._outages.ask_again_at), now + (self._limits.look if idle else BUSY_LOOK))

    # The end

    def _leave(self) -> int:
        """The supervisor lets it go: everything outstanding is given back first, and everything counted written down."""
        if self._order == "leave":
            deadline = boot_time() + LAST_TRY
            while not self._give_back_everything("handed back: its supervisor stopped") and boot_time() < deadline:
                self._beat()
                select.select([], [], [], 0.1)
            self._outages.ask(lambda: self._queue.forget(self._identity.id))
        self._outages.ask(self.tallies.record)
        return 0

    def _end_with_the_supervisor(self) -> int:
        """The supervisor is gone without a word: nobody may work on without it."""
        workers = self._lookout.kill_all()
        deadline = boot_time() + LAST_TRY
        while self._lookout.any_alive() and boot_time() < deadline:
            select.select([], [], [], 0.01)
        while not self._give_back_everything("its supervisor died", interrupted=True) and boot_time() < deadline:
            select.select([], [], [], 0.1)
        self._outages.ask(self.tallies.record)
        tell(SupervisorVanished(workers))
        return 0

    def _give_back_everything(self, reason: str, interrupted: bool = False) -> bool:
        """Settle the deaths that are known and release all tags on all books; False when the database is away."""
        tags = list(self._lookout.tags() | self._outstanding.keys())

        def give_back() -> None:
            self._reclaim_the_dead()
            self._queue.release(tags, reason, interrupted)

        return self._outages.ask(give_back)
