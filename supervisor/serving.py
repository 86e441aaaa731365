"""The HTTP API as a child: another program, in another process, on a socket that the supervisor holds open for it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from config import SUPERVISED, Loaded

from .asking import PATIENCE, Asking
from .children import Child, Nursery
from .events import ApiLost, ApiReady, tell
from .limits import NEVER
from .listening import Listening
from .restarts import RestartPolicy, recent, start_after

PROGRAM = "apps.serve"
"""The module that is run as a program. A name, because the supervisor imports nothing of the applications."""

HOME = Path(__file__).resolve().parent.parent
"""Where our packages stand: the child finds the same ones, whatever lies in the working directory."""

LEAVE_WITHIN = 8.0
"""Seconds that requests under way may take at the end."""


class Serving:
    """At most one such process. Whatever becomes of it, the supervisor goes on."""

    def __init__(self, nursery: Nursery, loaded: Loaded, run_dir: Path, random: Random) -> None:
        self.child: Child | None = None
        self._nursery, self._settings, self._random = nursery, loaded.settings, random
        self._environment = _environment(loaded, run_dir)
        self._listening = Listening(nursery, loaded.settings.api) if loaded.settings.api.enabled else None
        self._asking: Asking | None = None
        self._ready: int | None = None
        self._is_ready = self._leaving = False
        self._because = ""
        self._deaths: list[float] = []
        self._not_before, self._kill_at = 0.0, NEVER

    @property
    def url(self) -> str:
        """Where it answers, or will; empty as long as the address cannot be had."""
        return self._listening.url if self._listening else ""

    @property
    def children(self) -> list[Child]:
        """The API, and who asks for its address."""
        return [*([self.child] if self.child else []), *(self._listening.children if self._listening else [])]

    @property
    def descriptors(self) -> list[int]:
        """What wakes the supervisor when the API is ready, answers or ends."""
        own = [child.pidfd for child in self.children if child.pidfd is not None]
        own += [self._ready] if self._ready is not None else []
        return own + [each for part in (self._listening, self._asking) if part for each in part.descriptors]

    @property
    def is_gone(self) -> bool:
        """Whether there is nothing to wait for at the end."""
        return not self.children

    def next_thing_due(self) -> float:
        """When it may be started, or must be ended."""
        if self.child is not None:
            return self._kill_at
        if self._leaving or self._listening is None or self._listening.children:
            return NEVER
        return self._listening.try_at if self._listening.socket is None else self._not_before

    def as_dict(self) -> dict[str, Any] | None:
        """For the status file; None when the API is not wanted."""
        if self._listening is None:
            return None
        return {"pid": self.child.pid if self.child else None, "url": self.url or None, "state": self._state()}

    def _state(self) -> str:
        if self.child is not None:
            return "leaving" if self._leaving else "running" if self._is_ready else "starting"
        if self._leaving:
            return "stopped"
        return "backing off" if self._listening and self._listening.socket else "not listening"

    # Start and end

    def keep_alive(self, now: float) -> None:
        """Start it if there is none and its pause is over."""
        self.listen(now)
        if self._listening is None or (opened := self._listening.socket) is None:
            return
        if self._leaving or self.child is not None or now < self._not_before:
            return
        try:
            self.child, self._ready = self._start(opened.fileno(), now)
        except OSError as error:
            self._not_before = now + 1.0
            tell(ApiLost(0, f"could not be started: {error}"))
            return
        self._is_ready, self._because = False, ""
        self._kill_at = now + self._settings.supervision.ready_timeout

    def _start(self, listening: int, now: float) -> tuple[Child, int]:
        """The child, and where it says that it is ready; raises `OSError` and leaves nothing behind when that is refused."""
        ready, theirs = os.pipe()
        os.set_blocking(ready, False)
        self._nursery.own(ready)
        try:
            return self._nursery.fork(
                lambda: _become(self._environment, listening, theirs), title="jobqueue: api", now=now,
                keep=[listening, theirs],
            ), ready
        except OSError:
            self._drop(ready)
            raise
        finally:
            os.close(theirs)

    def listen(self, now: float) -> None:
        """Take the address, if it is wanted and can be had."""
        if self._listening is not None and not self._leaving:
            self._listening.take(now)

    def look(self, now: float) -> None:
        """See whether it is ready, has ended, or must be ended."""
        if self._listening is not None:
            self._listening.look(now)
        self._note_ready(now)
        if self.child is None:
            return
        if now >= self._kill_at:
            self._because = self._because or ("did not leave in time" if self._leaving else "was not ready in time")
            self.child.send_group(signal.SIGKILL)
        if (ending := self._nursery.reap(self.child)) is not None:
            self._bury(self._because or f"ended with {ending}", now)

    def watch(self, now: float, awake_since: float) -> None:
        """Kill one that was ready and does not answer any more, hung or stopped; `look` sees it die."""
        if self._asking is None or self._leaving or self._because:
            return
        silent = min(self._asking.silence(now), now - awake_since)
        if silent >= PATIENCE and self.child is not None:
            self._because = f"did not answer for {silent:.1f} s"
            self.child.send_group(signal.SIGKILL)

    def _note_ready(self, now: float) -> None:
        if self._ready is None or self.child is None:
            return
        try:
            said = os.read(self._ready, 1)
        except BlockingIOError:
            return
        self._drop(self._ready)
        self._ready = None
        if said:
            self._is_ready = True
            self._kill_at = self._kill_at if self._leaving else NEVER
            if self._listening is not None and self._listening.socket is not None:
                self._asking = Asking(self._nursery, self._listening.socket, now)
            tell(ApiReady(self.child.pid, self.url))

    def _bury(self, reason: str, now: float) -> None:
        assert self.child is not None
        dead, self.child = self.child, None
        self._ask_no_more()
        if self._ready is not None:
            self._drop(self._ready)
            self._ready = None
        if self._leaving:
            return
        tell(ApiLost(dead.pid, reason))
        policy = RestartPolicy()
        self._deaths = [*recent(self._deaths, policy, now), now]
        self._not_before = start_after(self._deaths, policy, self._random)

    def let_leave(self, now: float) -> None:
        """Ask it to finish the requests it has and go; the address is free for others."""
        if self._leaving:
            return
        self._leaving, self._kill_at = True, now + LEAVE_WITHIN
        self._ask_no_more()
        if self._listening is not None:
            self._listening.give_up()
        if self.child is not None:
            self.child.send(signal.SIGTERM)

    def _ask_no_more(self) -> None:
        if self._asking is not None:
            self._asking.close()
            self._asking = None

    def _drop(self, descriptor: int) -> None:
        self._nursery.disown(descriptor)
        os.close(descriptor)


def _environment(loaded: Loaded, run_dir: Path) -> Mapping[str, str]:
    """What the child finds: this configuration with what the command line said, these packages, and that it has a supervisor."""
    own = {
        **loaded.from_command_line(),
        SUPERVISED: str(run_dir),
        "JOBQUEUE_CONFIG": str(loaded.path),
        "PYTHONPATH": os.pathsep.join([str(HOME), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    return {**os.environ, **own}


def _become(environment: Mapping[str, str], listening: int, ready: int) -> int:
    """Be that program from now on; runs in the child."""
    for descriptor in (listening, ready):
        os.set_inheritable(descriptor, True)
    command = [sys.executable, "-P", "-m", PROGRAM, str(listening), str(ready)]
    os.execve(sys.executable, command, environment)
