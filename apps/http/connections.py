"""How many connections are served, and how long one may be silent or take for its headers: in front of uvicorn's protocol.

uvicorn limits neither: a connection that never sends a request stays for ever, and headers may be of any size. It offers no
hook to an application either, so `guard` wraps the methods of its protocol class, in whichever way it was started.
"""

from __future__ import annotations

import json
import resource
import socket
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from .problems import MEDIA_TYPE, Problem

LARGEST_HEADERS = 65_536
DESCRIPTORS_ASIDE = 200
"""File descriptors that are left for everything but connections."""

LINGER = 0.5
MOST_LINGERING = 100
"""Refused connections that are kept for `LINGER` seconds, so that their clients can read why."""

LOOKED_AT = 100
"""When there is no room, so many of the oldest connections are looked at for one that is idle."""


Progress = tuple[object, int]


@dataclass(slots=True)
class Seen:
    """What was seen of a connection: bytes that were neither body nor the end of headers, and how it was at the last look."""

    headers: int = 0
    silent: bool = False
    unsent: int = 0


class Guard:
    """The connections of this process: at most `most`, none of which keeps its request back, or its answer unread, for long."""

    def __init__(self, most: int, patience: float) -> None:
        self.most, self.patience = within_descriptors(most), patience
        self._open: OrderedDict[Any, Seen] = OrderedDict()
        self._lingering = 0

    def welcome(self, protocol: Any) -> bool:
        """Whether a new connection may stay; one that is idle makes room for it."""
        if len(self._open) >= self.most and not self._make_room():
            return False
        self._open[protocol] = Seen()
        protocol.loop.call_later(self.patience, self._look, protocol)
        return True

    def knows(self, protocol: Any) -> bool:
        """Whether this connection is served; what others send is thrown away."""
        return protocol in self._open

    def part(self, protocol: Any) -> None:
        """A connection is served no longer."""
        self._open.pop(protocol, None)

    def took(self, protocol: Any, size: int, before: Progress) -> None:
        """This many bytes came: where they began no request and brought none of its body, they are headers, which have an end.

        Such come also while a request is answered: the next one's, or those that may follow a body in chunks.
        """
        if (seen := self._open.get(protocol)) is None:
            return
        seen.headers = 0 if progress_of(protocol) != before else seen.headers + size
        if seen.headers <= LARGEST_HEADERS:
            return
        if _in_request(protocol):
            self.part(protocol)
            protocol.transport.abort()
        else:
            detail = f"The headers of a request may have {LARGEST_HEADERS} bytes."
            self._dismiss(protocol, 431, "Headers too large", detail)

    def refuse(self, protocol: Any, status: int, title: str, detail: str) -> None:
        """Answer and close; not at once, for closing with something unread would take the answer back from the client."""
        transport = protocol.transport
        with suppress(Exception):  # the client may be gone already
            transport.write(_answer(status, title, detail))
            if self._lingering < MOST_LINGERING and transport.can_write_eof():
                transport.write_eof()
                self._lingering += 1
                protocol.loop.call_later(LINGER, self._abandon, transport)
                return
        transport.close()

    def _abandon(self, transport: Any) -> None:
        self._lingering -= 1
        transport.abort()

    def _make_room(self) -> bool:
        idle = next((each for each in islice(self._open, LOOKED_AT) if not _in_request(each)), None)
        if idle is None:
            return False
        self._dismiss(idle, 408, "Request timeout", "This connection was idle, and others wait.")
        return True

    def _look(self, protocol: Any) -> None:
        """Dismiss a connection that at two looks was in the middle of its headers, or read nothing of its answer between them."""
        if (before := self._open.get(protocol)) is None:
            return
        silent = not _in_request(protocol) and protocol.timeout_keep_alive_task is None
        unsent = protocol.transport.get_write_buffer_size()
        if 0 < before.unsent <= unsent:
            self.part(protocol)
            protocol.transport.abort()
        elif silent and (before.silent or protocol.cycle is None):
            self._dismiss(protocol, 408, "Request timeout", f"No whole request came within {self.patience:g} s.")
        else:
            before.silent, before.unsent = silent, unsent
            protocol.loop.call_later(self.patience, self._look, protocol)

    def _dismiss(self, protocol: Any, status: int, title: str, detail: str) -> None:
        self.part(protocol)
        self.refuse(protocol, status, title, detail)


def guard(most: int, patience: float, protocol_class: Any = AutoHTTPProtocol) -> Callable[[], None]:
    """Guard the connections that uvicorn accepts from now on; returns what ends it."""
    keeper = Guard(most, patience)
    names = ("connection_made", "connection_lost", "data_received", "send_400_response")
    made, lost, received, _ = originals = [getattr(protocol_class, name) for name in names]

    def connection_made(self: Any, transport: Any) -> None:
        _send_at_once(transport)
        if keeper.welcome(self):
            made(self, transport)
        else:
            self.transport = transport
            keeper.refuse(self, 503, "Too busy", "Too many connections; try again later.")

    def connection_lost(self: Any, error: Exception | None) -> None:
        keeper.part(self)
        if self.flow is not None:
            lost(self, error)

    def data_received(self: Any, data: bytes) -> None:
        if keeper.knows(self):
            before = progress_of(self)
            received(self, data)
            keeper.took(self, len(data), before)

    def send_400_response(self: Any, message: str) -> None:
        self.transport.write(_answer(400, "Bad request", "This is not HTTP, or not written as it must be."))
        self.transport.close()

    def undo() -> None:
        for name, original in zip(names, originals, strict=True):
            setattr(protocol_class, name, original)

    for name, ours in zip(names, (connection_made, connection_lost, data_received, send_400_response), strict=True):
        setattr(protocol_class, name, ours)
    return undo


def within_descriptors(most: int) -> int:
    """As many of `most` connections as this process may have file descriptors for; asks for as many as it may get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < most + DESCRIPTORS_ASIDE:
        wanted = most + DESCRIPTORS_ASIDE if hard == resource.RLIM_INFINITY else min(hard, most + DESCRIPTORS_ASIDE)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return max(1, min(most, soft - DESCRIPTORS_ASIDE))


def _send_at_once(transport: Any) -> None:
    """Have the body not wait until the client has acknowledged the head, which takes it 40 ms.

    asyncio does so by itself, but not for the socket that uvicorn shares among several workers: it does not name its protocol.
    """
    with suppress(OSError):  # a unix socket has nothing of the kind
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def progress_of(protocol: Any) -> Progress:
    """The request that a connection is at, and how much of its body waits to be taken."""
    return protocol.cycle, len(protocol.cycle.body) if protocol.cycle is not None else 0


def _in_request(protocol: Any) -> bool:
    return protocol.cycle is not None and not protocol.cycle.response_complete


def _answer(status: int, title: str, detail: str) -> bytes:
    body = json.dumps(Problem(status, title, detail).document)
    later = "retry-after: 1\r\n" if status in (408, 503) else ""
    head = (
        f"HTTP/1.1 {status} {title}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        f"{later}connection: close\r\n\r\n"
    )
    return (head + body).encode()
