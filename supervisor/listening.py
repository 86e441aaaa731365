"""The socket on which the API is served: taken when its address can be had, asked for again until then."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Any

from config import Api

from .children import Child, Nursery
from .errands import Errand, Tell
from .events import ApiNotListening, tell

LISTEN_AGAIN = 5.0
"""Seconds between two tries to get an address that somebody else has, or that is not known."""

RESOLVE_WITHIN = 20.0
"""Seconds that the name server may take while jobs are processed."""

Place = tuple[int, Any]
"""A family of addresses, and an address as `bind` takes it."""


class Listening:
    """At most one listening socket, which outlives the children that answer on it. Says once why there is none."""

    def __init__(self, nursery: Nursery, api: Api) -> None:
        """Asks for the host's addresses at once and waits for the answer; later that is done by a child."""
        self.socket: socket.socket | None = None
        self.url = ""
        self.try_at = 0.0
        self._nursery, self._api = nursery, api
        self._places: Sequence[Place] = _resolved(api)
        self._errand: Errand | None = None
        self._complained = ""

    @property
    def children(self) -> list[Child]:
        """Who asks the name server."""
        return [self._errand.child] if self._errand else []

    @property
    def descriptors(self) -> list[int]:
        """What wakes the supervisor when the name server has answered."""
        return [self._errand.descriptor] if self._errand else []

    def take(self, now: float) -> None:
        """Listen, if it can be done now."""
        if self.socket is not None or now < self.try_at or self._errand is not None:
            return
        self.try_at = now + LISTEN_AGAIN
        problem = f"the host {self._api.host!r} is not known"
        for family, place in self._places:
            try:
                self._begin(_listening(family, place))
                return
            except OSError as error:
                problem = f"{error.strerror}"
                self._places = [] if error.errno == errno.EADDRNOTAVAIL else self._places
        self._complain(problem)
        if not self._places:
            self._ask(now)

    def look(self, now: float) -> None:
        """See whether the name server has answered."""
        if self._errand is None:
            return
        self._errand.look(now)
        if self._errand.ended is not None:
            self._places = [(family, tuple(place)) for said in self._errand.messages for family, place in said["places"]]
            self._errand, self.try_at = None, now if self._places else self.try_at

    def give_up(self) -> None:
        """The address is free for others."""
        if self._errand is not None:
            self._errand.abandon()
        if self.socket is not None:
            self._nursery.disown(self.socket.fileno())
            self.socket.close()
            self.socket = None

    def _begin(self, listening: socket.socket) -> None:
        self._nursery.own(listening.fileno())
        self.socket, self.url, self._complained = listening, _url(listening), ""

    def _complain(self, problem: str) -> None:
        if problem != self._complained:
            self._complained = problem
            tell(ApiNotListening(f"{self._api.host}:{self._api.port}", problem))

    def _ask(self, now: float) -> None:
        def ask(tell: Tell) -> int:
            tell({"places": _resolved(self._api)})
            return 0

        try:
            self._errand = Errand(self._nursery, ask, title="jobqueue: resolves", now=now, within=RESOLVE_WITHIN)
        except OSError as error:
            self._complain(f"no process could be started that asks for {self._api.host!r}: {error.strerror}")


def _resolved(api: Api) -> Sequence[Place]:
    """The addresses that the host's name stands for; waits for the name server."""
    try:
        found = socket.getaddrinfo(api.host, api.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return []
    return [(int(family), place) for family, _, _, _, place in found]


def _listening(family: int, place: Any) -> socket.socket:
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
