"""The supervisor: one thread, no database, never blocked. It fills places, obeys signals, buries, judges, waits."""

from __future__ import annotations

import faulthandler
import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from random import Random
from typing import Any

from config import ConfigError, Loaded, Settings, needs_restart, set_log_level
from workers import Board, Order, WorkerSettings, boot_time, run_worker

from . import maintenance, plan
from .channel import Channel
from .children import Nursery, reap_strangers
from .crew import Crew, Place
from .events import (
    CrashLoop,
    DeathsNotTold,
    Reloaded,
    ReloadRefused,
    ReloadStarted,
    SupervisorDraining,
    SupervisorQuiet,
    SupervisorReady,
    SupervisorWoke,
    WorkersWanted,
    tell,
)
from .inbox import Inbox
from .liaison import Liaison
from .limits import NEVER
from .rundir import RunDir
from .status import State, describe

LAST_WORDS = 5.0
"""Seconds that maintenance has at the end to confirm the last deaths (at most), and again to leave."""


class Supervisor:
    """Keeps the wanted number of workers and one maintenance alive until it is told to stop."""

    def __init__(
        self,
        loaded: Loaded,
        identity: plan.Identity,
        run_dir: RunDir,
        nursery: Nursery,
        inbox: Inbox,
        load_again: Callable[[], Loaded],
        until_eof: int | None = None,
        random: Random | None = None,
    ) -> None:
        self.settings: Settings = loaded.settings
        self.state = State.STARTING
        self.exit_code = 0
        self.finished = False
        self.inbox = inbox
        self._identity, self._run_dir, self._nursery = identity, run_dir, nursery
        self._load_again, self._until_eof = load_again, until_eof
        places = self.settings.workers.count + plan.SPARE_PLACES
        self._process_ids = plan.process_ids_of(self.settings, identity.host, places)
        self._board = Board(places)
        life, self._life_held = os.pipe()
        nursery.own(life, self._life_held)
        self._life = life
        self._crew = Crew(
            nursery, self._board, self._process_ids, self._work, life, self.settings.workers.count, random or Random()
        )
        self._liaison = Liaison(nursery, self._board, self._maintain, [place.wake[1] for place in self._crew.places])
        self._limits, self._restarts = plan.limits_of(self.settings), plan.restarts_of(self.settings)
        self._began = self._looked_at = self._awake_since = boot_time()
        self._interrupts = 0
        self._rolling: list[Place] = []
        self._leave_by = self._confirm_by = NEVER
        self._said: dict[str, Any] = {}
        self._said_at = 0.0
        self._facts = _own_facts(loaded, identity)
        self._reload: dict[str, Any] = {"reloaded_at": None, "reload_refused": None}

    def run(self) -> int:
        """Supervise until told to stop and everybody is gone; returns the exit code."""
        self.fill_empty_slots()
        while not self.finished:
            self.obey(self.inbox.take())
            self.bury_the_dead()
            self.stop_the_overdue()
            self.fill_empty_slots()
            self.see_off_maintenance()
            self.say_how_it_is()
            self.inbox.wait(self.next_thing_due() - boot_time())
        return self.exit_code

    # The five verbs of the loop

    def fill_empty_slots(self) -> None:
        """Start what is missing: maintenance first, for it takes back what the dead held."""
        now = boot_time()
        self._liaison.keep_alive(now)
        if not self._is_leaving:
            self._crew.fill_empty_slots(now)
            self._roll_on(now)
        self._watch()

    def obey(self, signals: Iterable[int]) -> None:
        """Give each signal its meaning."""
        for number in signals:
            match number:
                case signal.SIGTERM:
                    self._terminate()
                case signal.SIGINT:
                    self._interrupt()
                case signal.SIGQUIT:
                    self._run_dir.starts_again = False
                    self.stop_at_once("SIGQUIT")
                case signal.SIGHUP:
                    self.reload()
                case signal.SIGTTIN:
                    self.want(self._crew.wanted + 1)
                case signal.SIGTTOU:
                    self.want(self._crew.wanted - 1)
                case signal.SIGUSR1:
                    self._dump_stacks()
                case signal.SIGUSR2:
                    self._toggle_quiet()
        if self._until_eof is not None and not self._is_leaving and _at_end(self._until_eof):
            self.drain("its owner ended")

    def bury_the_dead(self) -> None:
        """Collect who ended, have the database learn of it, and give up on a crash loop."""
        now = boot_time()
        for _, burial in self._crew.bury_the_dead(now, self._restarts):
            self._liaison.announce(burial.death)
        self._liaison.bury()
        self._liaison.speak(now)
        if os.getpid() == 1:
            reap_strangers({child.pid for child in self._children()})
        if not self._is_leaving and self._crew.crash_looping(self._restarts, now):
            self._give_up()

    def stop_the_overdue(self) -> None:
        """Judge everybody who is alive."""
        now = boot_time()
        if now - self._looked_at >= self._limits.patience / 2:
            self._awake_since = now
            tell(SupervisorWoke(round(now - self._looked_at, 3)))
        self._looked_at = now
        self._crew.stop_the_overdue(self._limits, now, self._awake_since)
        self._liaison.watch(self._limits, now, self._awake_since)
        if self.state is State.STARTING and self._crew.all_ready:
            self.state = State.RUNNING
            tell(SupervisorReady(self._crew.wanted, round((now - self._began) * 1000)))

    def next_thing_due(self) -> float:
        """When somebody must be looked at again if nothing happens before."""
        soon = boot_time() + self._limits.look
        return min(soon, self._crew.next_start() if not self._is_leaving else NEVER, self._crew.next_kill())

    # What signals mean

    def drain(self, because: str) -> None:
        """Claim no more, let workers finish for `shutdown_timeout`, then hand back what they hold."""
        if self._is_leaving:
            return
        self.state = State.DRAINING
        tell(SupervisorDraining(because, self.settings.shutdown_timeout))
        self._ask_all_to_leave()

    def stop_at_once(self, because: str) -> None:
        """Hand everything back now."""
        self.drain(because)
        self._crew.hand_back_at_once()

    def want(self, count: int) -> None:
        """Have so many workers from now on."""
        count = max(1, min(count, len(self._crew.places)))
        if count == self._crew.wanted or self._is_leaving:
            return
        self._crew.wanted = count
        tell(WorkersWanted(count))
        for place in self._crew.places[count:]:
            self._crew.ask_to_leave(place, boot_time() + self.settings.shutdown_timeout)

    def reload(self) -> None:
        """Read the settings again; use them if they are good, say everything that is wrong if they are not."""
        tell(ReloadStarted())
        refused = self._take_settings()
        for problem in refused:
            tell(ReloadRefused(problem))
        self._reload = {"reloaded_at": datetime.now(UTC).isoformat(), "reload_refused": refused or None}

    def _take_settings(self) -> list[str]:
        """Use the settings as they are now; returns why that cannot be."""
        if self._is_leaving:
            return [f"the supervisor is about to end: {self.state.value}"]
        try:
            loaded = self._load_again()
        except ConfigError as error:
            return [str(problem) for problem in error.problems]
        refused = _why_not(self.settings, loaded.settings, len(self._crew.places))
        if not refused:
            self._use(loaded)
        return refused

    def _use(self, loaded: Loaded) -> None:
        self.settings = loaded.settings
        self._limits, self._restarts = plan.limits_of(self.settings), plan.restarts_of(self.settings)
        self._facts = _own_facts(loaded, self._identity)
        set_log_level(self.settings.logging.level)
        self.want(self.settings.workers.count)
        self._rolling = [place for place, _ in self._crew.living if place.index < self._crew.wanted]
        self._liaison.let_leave(for_good=False)
        tell(Reloaded(self._crew.wanted))

    def _roll_on(self, now: float) -> None:
        """Replace one worker after the other: the next only when all others can claim."""
        if self._rolling and self._crew.all_ready:
            self._crew.ask_to_leave(self._rolling.pop(0), now + self.settings.shutdown_timeout)

    def _terminate(self) -> None:
        """Drain; whether to start again afterwards is the last word's to say, so a stop wins over an earlier restart."""
        self._run_dir.take_request()
        self.drain("restart" if self._run_dir.starts_again else "SIGTERM")

    def _interrupt(self) -> None:
        self._run_dir.starts_again = False
        self._interrupts += 1
        if self._interrupts > 1:
            self.stop_at_once("second SIGINT")
        else:
            self.drain("SIGINT")

    def _toggle_quiet(self) -> None:
        if self._is_leaving:
            return
        quiet = self.state is not State.QUIET
        self.state = State.QUIET if quiet else State.RUNNING
        self._crew.give_order(Order.QUIET if quiet else Order.WORK)
        tell(SupervisorQuiet(quiet))

    def _dump_stacks(self) -> None:
        faulthandler.dump_traceback(file=sys.__stderr__ or 2)
        for child in self._children():
            child.send(signal.SIGUSR1)

    # The end

    @property
    def _is_leaving(self) -> bool:
        return self.state in (State.DRAINING, State.CRASH_LOOP, State.STOPPED)

    def _give_up(self) -> None:
        self.state = State.CRASH_LOOP
        self.exit_code = 1
        tell(CrashLoop(sum(len(place.deaths) for place in self._crew.places), self._crew.last_reason))
        self._ask_all_to_leave()

    def _ask_all_to_leave(self) -> None:
        kill_at = boot_time() + self.settings.shutdown_timeout
        for place, _ in self._crew.living:
            self._crew.ask_to_leave(place, kill_at)

    def see_off_maintenance(self) -> None:
        """When the last worker is gone and every death is confirmed, or cannot be, maintenance leaves; then all is done."""
        if not self._is_leaving or any(self._crew.living):
            return
        now = boot_time()
        self._confirm_by = min(self._confirm_by, now + min(LAST_WORDS, self._limits.patience))
        if not self._liaison.leaving and (not self._liaison.unconfirmed or now >= self._confirm_by):
            if self._liaison.unconfirmed:
                tell(DeathsNotTold(self._liaison.unconfirmed))
            self._liaison.let_leave(for_good=True)
            self._leave_by = now + LAST_WORDS
        if now >= self._leave_by:
            self._liaison.kill("did not leave in time")
        if self._liaison.leaving and self._liaison.child is None:
            self.state, self.finished = self._last_state(), True

    def _last_state(self) -> State:
        if self._run_dir.starts_again:
            return State.RESTARTING
        return self.state if self.exit_code else State.STOPPED

    def say_how_it_is(self) -> None:
        """Replace the status file whenever something changed, and each second."""
        now = boot_time()
        status = describe(self._facts | self._reload, self.state, self._crew, self._liaison, now, datetime.now(UTC))
        changed = _without_times(status) != _without_times(self._said)
        if changed or now - self._said_at >= 1.0:
            self._run_dir.say(status)
            self._liaison.pass_on(status)
            self._said, self._said_at = status, now

    # Children

    def _children(self) -> list[Any]:
        own = [worker.child for _, worker in self._crew.living]
        return own + ([self._liaison.child] if self._liaison.child else [])

    def _watch(self) -> None:
        """Wake up when a child ends, maintenance speaks, or the owner goes."""
        pidfds = [child.pidfd for child in self._children() if child.pidfd is not None]
        owner = [self._until_eof] if self._until_eof is not None and not self._is_leaving else []
        self.inbox.watch_only([*pidfds, *self._liaison.descriptors, *owner])

    def _work(self, place: Place, incarnation: int) -> int:
        """A worker's life; runs in the child."""
        settings = self.settings
        self._board.resume()
        worker = WorkerSettings(
            process_id=place.process_id,
            slot_index=place.index,
            incarnation=incarnation,
            database_url=settings.database_url,
            engine_options=plan.worker_engine_options(settings),
            handlers=plan.handlers_of(settings),
            policies=plan.policies_of(settings),
            heartbeat_interval=settings.heartbeat_interval,
            lock_timeout=settings.lock_timeout,
            poll_interval=settings.poll_interval,
        )
        return run_worker(worker, place.slot, place.wake[0], self._life)

    def _maintain(self, channel: Channel) -> int:
        """Maintenance's life; runs in the child."""
        self._board.resume()
        return maintenance.run(
            self.settings, self._identity, self._board, self._process_ids, self._liaison.wakes, channel
        )


def _own_facts(loaded: Loaded, identity: plan.Identity) -> dict[str, Any]:
    return {
        "id": identity.id,
        "pid": identity.pid,
        "host": identity.host,
        "started_at": identity.started_at.isoformat(),
        "config": str(loaded.path),
        "config_hash": hashlib.sha256(loaded.path.read_bytes()).hexdigest()[:12],
    }


def _why_not(running: Settings, wanted: Settings, places: int) -> list[str]:
    """Why a reload cannot bring these settings; empty when it can."""
    if keys := needs_restart(running, wanted):
        return [f"these settings take effect only after `supervisor restart`, nothing was changed: {', '.join(keys)}"]
    if wanted.workers.count > places:
        return [f"workers.count: {wanted.workers.count} needs `supervisor restart`; until then at most {places} can run"]
    return []


def _without_times(status: dict[str, Any]) -> dict[str, Any]:
    workers = [{**worker, "since": 0} for worker in status.get("workers", [])]
    return {**status, "written_at": "", "workers": workers}


def _at_end(descriptor: int) -> bool:
    """True when nobody holds the other end any more."""
    try:
        return os.read(descriptor, 1) == b""
    except BlockingIOError:
        return False
