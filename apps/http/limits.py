"""How much a client may send, how long it may take, and how often it may ask: ASGI middleware in front of all routes.

A body is read whole before a route sees it, within its size and time, so no route meets half a request. A library for rates
(`limits`) was tried: its memory store starts a thread for each request and keeps every key it ever saw.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config import Api

from ..access.recent import Recent
from .bearer import bearer
from .peers import household
from .places import is_probe
from .problems import Problem

MOST_KEYS = 10_000
"""Clients that are remembered; of more, those that asked longest ago are forgotten."""

STRANGERS = 10
"""Tokens of one address that nobody is known by may together make so many times the requests of one token.

Tokens that were found good lately do not count: many users behind one proxy are one address, and one of them may be hostile.
"""

KNOWN_FOR = 60.0
"""Seconds for which a token that was found good is no stranger's."""

BODIES_IN_FLIGHT = 64
"""How many bodies of the largest size may be in memory at the same time, whole or still arriving."""

SMALL = 65_536
"""A body of so many bytes is taken however much others hold: slow senders must not keep everybody out."""

CLOSE = {"Connection": "close"}
"""What the client still sends is not read."""

LATER = {"Retry-After": "1"}


class Rates:
    """A bucket for each key that fills by `rate` a second, up to two seconds' worth."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._most, self._clock = rate, 2.0 * rate, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one; returns 0, or in how many seconds there will be one."""
        now = self._clock()
        left, at = self._buckets.pop(key, (self._most, now))
        left = min(self._most, left + (now - at) * self._rate)
        taken = left >= 1.0
        self._buckets[key] = (left - 1.0 if taken else left, now)
        if len(self._buckets) > MOST_KEYS:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1.0 - left) / self._rate


class Limits:
    """The middleware. `settings` gives the section `api` of the configuration; it is asked at each request."""

    def __init__(self, app: ASGIApp, settings: Callable[[], Api]) -> None:
        self._app, self._settings = app, settings
        self._api, self._rates, self._addresses = Api(), Rates(1.0), Rates(1.0)
        self._known: Recent[bool] = Recent(KNOWN_FOR, MOST_KEYS)
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in place of the routes when a limit is passed."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        api = self._settings()
        if api is not self._api:
            self._api, self._rates = api, Rates(api.rate_limit)
            self._addresses = Rates(STRANGERS * api.rate_limit)
        if refused := self._too_often(scope):
            await refused.response()(scope, receive, send)
            return
        held = _Held()
        try:
            body = await self._read(api, held, scope, receive)
            if isinstance(body, Problem):
                await body.response()(scope, receive, send)
            elif body is not None:
                await self._answer(body, scope, receive, send)
        finally:
            self._in_flight -= held.size

    def _too_often(self, scope: Scope) -> Problem | None:
        if is_probe(scope):
            return None
        client = _client(scope)
        wait = self._rates.take(client)
        if self._known.recall(client) is None:
            wait = max(wait, self._addresses.take(_address(scope)))
        if not wait:
            return None
        seconds = max(1, ceil(wait))
        detail = f"More than {self._api.rate_limit} requests a second. Ask again in {seconds} s."
        return Problem(429, "Too many requests", detail, headers={"Retry-After": str(seconds)})

    async def _read(self, api: Api, held: _Held, scope: Scope, receive: Receive) -> bytes | Problem | None:
        """The whole body; an answer when it is too large or too slow; None when the client went away."""
        if _announced(scope) > api.largest_body:
            return _too_large(api)
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(api.request_timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(message.get("body", b""))
                    if refused := self._hold(api, held, len(parts[-1])):
                        return refused
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            detail = f"The request did not arrive within {api.request_timeout:g} s."
            return Problem(408, "Request timeout", detail, headers=CLOSE)

    def _hold(self, api: Api, held: _Held, size: int) -> Problem | None:
        """Count what has arrived; the refusal when it is too much, of this body or of all together."""
        held.size += size
        self._in_flight += size
        if held.size > api.largest_body:
            return _too_large(api)
        if held.size > SMALL and self._in_flight > BODIES_IN_FLIGHT * api.largest_body:
            return Problem(503, "Too busy", "Too many large requests at once; ask again later.", headers=CLOSE | LATER)
        return None

    async def _answer(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, _replayed(body, receive), send)
        finally:
            if scope.get("state", {}).get("caller_name"):
                self._known.remember(_client(scope), True, time.monotonic())


@dataclass(slots=True)
class _Held:
    """How many bytes of one request are in memory."""

    size: int = 0


def _too_large(api: Api) -> Problem:
    return Problem(413, "Body too large", f"The body may have at most {api.largest_body} bytes.", headers=CLOSE)


def _client(scope: Scope) -> str:
    """Whose rate a request counts against: its token's, however that is written; else its address's."""
    token = bearer([value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"])
    return _address(scope) if token is None else hashlib.sha256(token.encode("latin-1")).hexdigest()


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return household(str(client[0])) if client else ""


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body at once, and after it what the server says."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again

