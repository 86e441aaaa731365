"""The HTTP API as a child: another program, in another process, on a socket that the supervisor holds open for it."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from config import SUPERVISED, Settings

from .children import Child, Nursery
from .events import ApiLost, ApiNotListening, ApiReady, tell
from .limits import NEVER
from .restarts import RestartPolicy, recent, start_after

PROGRAM = "apps.serve"
"""The module that is run as a program. A name, because the supervisor imports nothing of the applications."""

HOME = Path(__file__).resolve().parent.parent
"""Where our packages stand: the child finds the same ones, whatever lies in the working directory."""

LISTEN_AGAIN = 5.0
"""Seconds between two tries to get an address that somebody else has."""

LEAVE_WITHIN = 8.0
"""Seconds that requests under way may take at the end."""


class Serving:
    """At most one such process. Whatever becomes of it, the supervisor goes on."""

    def __init__(self, nursery: Nursery, settings: Settings, config: Path, run_dir: Path, random: Random) -> None:
        self.child: Child | None = None
        self.url = ""
        self._nursery, self._settings, self._random = nursery, settings, random
        self._environment = _environment(settings, config, run_dir)
        self._socket: socket.socket | None = None
        self._listen_at = 0.0
        self._complained = ""
        self._ready: int | None = None
        self._is_ready = self._leaving = False
        self._because = ""
        self._deaths: list[float] = []
        self._not_before, self._kill_at = 0.0, NEVER
        self._places = _places(settings) if settings.api.enabled else []

    @property
    def descriptors(self) -> list[int]:
        """What wakes the supervisor when the API is ready or ends."""
        pidfd = [self.child.pidfd] if self.child and self.child.pidfd is not None else []
        return pidfd + ([self._ready] if self._ready is not None else [])

    @property
    def is_gone(self) -> bool:
        """Whether there is nothing to wait for at the end."""
        return self.child is None

    def next_thing_due(self) -> float:
        """When it may be started, or must be ended."""
        if self.child is not None:
            return self._kill_at
        if self._leaving or not self._settings.api.enabled:
            return NEVER
        return self._listen_at if self._socket is None else self._not_before

    def as_dict(self) -> dict[str, Any] | None:
        """For the status file; None when the API is not wanted."""
        if not self._settings.api.enabled:
            return None
        return {"pid": self.child.pid if self.child else None, "url": self.url or None, "state": self._state()}

    def _state(self) -> str:
        if self.child is not None:
            return "leaving" if self._leaving else "running" if self._is_ready else "starting"
        if self._leaving:
            return "stopped"
        return "backing off" if self._socket else "not listening"

    # Listen

    def listen(self, now: float) -> None:
        """Take the address, if it is wanted and can be had; says once why it cannot."""
        if self._socket is not None or not self._settings.api.enabled or now < self._listen_at:
            return
        self._listen_at = now + LISTEN_AGAIN
        problem = f"the host {self._settings.api.host!r} is not known"
        for family, place in self._places:
            try:
                self._socket = _listening(family, place)
            except OSError as error:
                problem = f"{error.strerror}"
                continue
            self._nursery.own(self._socket.fileno())
            self.url = _url(self._socket)
            self._complained = ""
            return
        if problem != self._complained:
            self._complained = problem
            tell(ApiNotListening(f"{self._settings.api.host}:{self._settings.api.port}", problem))

    # Start and end

    def keep_alive(self, now: float) -> None:
        """Start it if there is none and its pause is over."""
        if self._leaving:
            return
        self.listen(now)
        if self._socket is None or self.child is not None or now < self._not_before:
            return
        ready, theirs = os.pipe()
        os.set_blocking(ready, False)
        self._nursery.own(ready)
        listening = self._socket.fileno()
        try:
            self.child = self._nursery.fork(
                lambda: _become(self._environment, listening, theirs), title="jobqueue: api", now=now,
                keep=[listening, theirs],
            )
        except OSError as error:
            self._not_before = now + 1.0
            self._drop(ready)
            tell(ApiLost(0, f"could not be started: {error}"))
            return
        finally:
            os.close(theirs)
        self._ready, self._is_ready, self._because = ready, False, ""
        self._kill_at = now + self._settings.supervision.ready_timeout

    def look(self, now: float) -> None:
        """See whether it is ready, has ended, or must be ended."""
        self._note_ready()
        if self.child is None:
            return
        if now >= self._kill_at:
            self._because = self._because or ("did not leave in time" if self._leaving else "was not ready in time")
            self.child.send_group(signal.SIGKILL)
        if (ending := self._nursery.reap(self.child)) is not None:
            self._bury(self._because or f"ended with {ending}", now)

    def _note_ready(self) -> None:
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
            tell(ApiReady(self.child.pid, self.url))

    def _bury(self, reason: str, now: float) -> None:
        assert self.child is not None
        dead, self.child = self.child, None
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
        if self._socket is not None:
            self._nursery.disown(self._socket.fileno())
            self._socket.close()
            self._socket = None
        if self.child is not None:
            self.child.send(signal.SIGTERM)

    def _drop(self, descriptor: int) -> None:
        self._nursery.disown(descriptor)
        os.close(descriptor)


def _environment(settings: Settings, config: Path, run_dir: Path) -> Mapping[str, str]:
    """What the child finds: this configuration, these packages, and that it has a supervisor."""
    own = {
        SUPERVISED: str(run_dir),
        "JOBQUEUE_CONFIG": str(config),
        "JOBQUEUE__LOGGING__FORMAT": settings.logging.format,
        "PYTHONPATH": os.pathsep.join([str(HOME), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    return {**os.environ, **own}


def _become(environment: Mapping[str, str], listening: int, ready: int) -> int:
    """Be that program from now on; runs in the child."""
    for descriptor in (listening, ready):
        os.set_inheritable(descriptor, True)
    command = [sys.executable, "-P", "-m", PROGRAM, str(listening), str(ready)]
    os.execve(sys.executable, command, environment)


def _places(settings: Settings) -> list[tuple[socket.AddressFamily, Any]]:
    """The addresses that the host's name stands for. Asked once, before anything runs: a name server may be slow."""
    try:
        found = socket.getaddrinfo(settings.api.host, settings.api.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return []
    return [(family, place) for family, _, _, _, place in found]


def _listening(family: socket.AddressFamily, place: Any) -> socket.socket:
    """A socket that listens at that address; raises `OSError`. What arrives while no child lives waits for the next."""
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(place)
        opened.listen()
    except BaseException:
        opened.close()
        raise
    return opened


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
