"""The supervisor: one thread, no database, never blocked. It fills places, obeys signals, buries, judges, waits."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from random import Random
from typing import Any

from config import ConfigError, Loaded, Owners, Processing, Settings, set_log_level
from workers import Board, Order, boot_time, run_worker

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
    RunDirLost,
    RunDirRestored,
    SupervisorDraining,
    SupervisorQuiet,
    SupervisorReady,
    SupervisorResting,
    SupervisorWoke,
    WorkersWanted,
    tell,
)
from .inbox import Inbox
from .liaison import Liaison
from .limits import NEVER
from .rundir import AlreadyRunning, RunDir
from .serving import Serving
from .status import State, describe, facts_of, without_times

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
        serving: Serving,
        owners: Owners | None = None,
        random: Random | None = None,
    ) -> None:
        self.settings: Settings = loaded.settings
        self.state = State.STARTING
        self.exit_code = 0
        self.finished = False
        self.inbox = inbox
        self._identity, self._run_dir, self._nursery = identity, run_dir, nursery
        self._load_again, self._serving, self._owners = load_again, serving, owners
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
        self._run_dir_lost = ""
        self._rolling: list[Place] = []
        self._leave_by = self._confirm_by = NEVER
        self._said: dict[str, Any] = {}
        self._said_at = 0.0
        self._facts = facts_of(loaded, identity)
        self._reload: dict[str, Any] = {"reloaded_at": None, "reload_refused": None}

    def run(self) -> int:
        """Supervise until told to stop and everybody is gone; returns the exit code."""
        self.fill_empty_slots()
        while not self.finished:
            self.obey(self.inbox.take())
            self.heed_orders()
            self.bury_the_dead()
            self.stop_the_overdue()
            self.fill_empty_slots()
            self.see_off_the_last()
            self.say_how_it_is()
            self.inbox.wait(self.next_thing_due() - boot_time())
        return self.exit_code

    # The verbs of the loop

    def fill_empty_slots(self) -> None:
        """Start what is missing: maintenance first, for it takes back what the dead held."""
        now = boot_time()
        self._liaison.keep_alive(now)
        self._serving.keep_alive(now)
        if not self._takes_no_jobs:
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
                    self._run_dir.order_stop()
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

    def heed_orders(self) -> None:
        """Rest or go on as the run directory says; end with the last owner."""
        self._keep_run_dir()
        if self._owners is not None and not self._is_leaving and self._owners.are_gone(boot_time()):
            self.drain("its last owner ended")
        if self._is_leaving:
            return
        match self._run_dir.ordered:
            case Processing.STOP if self.state is not State.RESTING:
                self.rest()
            case Processing.GO if self.state is State.RESTING:
                self.go_on()

    def _keep_run_dir(self) -> None:
        """Make the run directory again if somebody removed it; whoever got in between has it, and this one ends."""
        if self._is_leaving:
            return
        try:
            if self._run_dir.restore():
                tell(RunDirRestored(str(self._run_dir.path)))
            self._run_dir_lost = ""
        except AlreadyRunning as error:
            self.drain(f"its run directory was removed, and {error}")
        except OSError as error:
            if self._run_dir_lost != (reason := str(error.strerror)):
                self._run_dir_lost = reason
                tell(RunDirLost(str(self._run_dir.path), reason))

    def bury_the_dead(self) -> None:
        """Collect who ended, have the database learn of it, and give up on a crash loop."""
        now = boot_time()
        for _, burial in self._crew.bury_the_dead(self._limits, now, self._restarts):
            self._liaison.announce(burial.death)
        self._liaison.bury()
        self._liaison.speak(now)
        self._serving.look(now)
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
        self._serving.watch(now, self._awake_since)
        if self.state is State.STARTING and self._crew.all_ready:
            self.state = State.RUNNING
            tell(SupervisorReady(self._crew.wanted, round((now - self._began) * 1000)))

    def next_thing_due(self) -> float:
        """When somebody must be looked at again if nothing happens before."""
        soon = boot_time() + self._limits.look
        next_start = NEVER if self._takes_no_jobs else self._crew.next_start()
        return min(soon, next_start, self._crew.next_kill(), self._serving.next_thing_due())

    # What signals mean

    def drain(self, because: str) -> None:
        """Claim no more, let workers finish for `shutdown_timeout`, then hand back what they hold."""
        if self._is_leaving:
            return
        self.state = State.DRAINING
        tell(SupervisorDraining(because, self.settings.shutdown_timeout))
        self._ask_all_to_leave()

    def rest(self) -> None:
        """Have all workers finish and leave; maintenance and the API stay."""
        self.state, self._rolling = State.RESTING, []
        tell(SupervisorResting(True))
        self._ask_all_to_leave()

    def go_on(self) -> None:
        """Fill the places again, each as soon as it is empty."""
        self.state = State.RUNNING
        self._crew.give_order(Order.WORK)
        tell(SupervisorResting(False))

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
        refused = plan.why_not_reload(self.settings, loaded.settings, len(self._crew.places))
        if not refused:
            self._use(loaded)
        return refused

    def _use(self, loaded: Loaded) -> None:
        self.settings = loaded.settings
        self._limits, self._restarts = plan.limits_of(self.settings), plan.restarts_of(self.settings)
        self._facts = facts_of(loaded, self._identity)
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
        if not self._run_dir.starts_again:
            self._run_dir.order_stop()
        self.drain("restart" if self._run_dir.starts_again else "SIGTERM")

    def _interrupt(self) -> None:
        self._run_dir.starts_again = False
        self._run_dir.order_stop()
        self._interrupts += 1
        if self._interrupts > 1:
            self.stop_at_once("second SIGINT")
        else:
            self.drain("SIGINT")

    def _toggle_quiet(self) -> None:
        if self._takes_no_jobs:
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

    @property
    def _takes_no_jobs(self) -> bool:
        return self._is_leaving or self.state is State.RESTING

    def _give_up(self) -> None:
        self.state = State.CRASH_LOOP
        self.exit_code = 1
        tell(CrashLoop(sum(len(place.deaths) for place in self._crew.places), self._crew.last_reason))
        self._ask_all_to_leave()

    def _ask_all_to_leave(self) -> None:
        kill_at = boot_time() + self.settings.shutdown_timeout
        for place, _ in self._crew.living:
            self._crew.ask_to_leave(place, kill_at)

    def see_off_the_last(self) -> None:
        """When the last worker is gone the API leaves, and then, every death confirmed or past hope, maintenance: all is done."""
        if not self._is_leaving or any(self._crew.living):
            return
        self._serving.let_leave(boot_time())
        if self._serving.is_gone:
            self._see_off_maintenance()

    def _see_off_maintenance(self) -> None:
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
        facts = self._facts | self._reload
        status = describe(facts, self.state, self._crew, self._liaison, self._serving, now, datetime.now(UTC))
        changed = without_times(status) != without_times(self._said)
        if changed or now - self._said_at >= 1.0:
            self._run_dir.say(status)
            self._liaison.pass_on(status)
            self._said, self._said_at = status, now

    # Children

    def _children(self) -> list[Any]:
        own = [worker.child for _, worker in self._crew.living]
        return own + ([self._liaison.child] if self._liaison.child else []) + self._serving.children

    def _watch(self) -> None:
        """Wake up when a child ends, or maintenance or the API speaks."""
        pidfds = [child.pidfd for child in self._children() if child.pidfd is not None]
        self.inbox.watch_only([*pidfds, *self._liaison.descriptors, *self._serving.descriptors])

    def _work(self, place: Place, incarnation: int) -> int:
        """A worker's life; runs in the child."""
        self._board.resume()
        worker = plan.worker_settings(self.settings, place.process_id, place.index, incarnation)
        return run_worker(worker, place.slot, place.wake[0], self._life)

    def _maintain(self, channel: Channel) -> int:
        """Maintenance's life; runs in the child."""
        self._board.resume()
        return maintenance.run(
            self.settings, self._identity, self._board, self._process_ids, self._liaison.wakes, channel
        )
