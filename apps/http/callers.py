"""Who asks: the bearer token of a request, checked; or this host itself, where the operator said `auth: none`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import structlog
from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from starlette.responses import Response

from backends import EVERYTHING, Role, Scope
from config import Jwt

from ..access.recent import Recent
from ..access.tokens import LENGTH, MARK, fingerprint, identify
from ..access.users import find_subject
from ..access.uses import Uses
from .bearer import bearer
from .peers import from_this_host, refusal
from .problems import Problem
from .services import Services

if TYPE_CHECKING:
    from ..access.jwt import IdentityProvider

REMEMBERED_FOR = 2.0
"""Seconds for which an answer is taken again: how late a revocation can be."""

MOST_REMEMBERED = 10_000
LONGEST_TOKEN = 8_000
HINT_EVERY = 60.0

HOW_TO = "make a token with `supervisor tokens create USER` and send it as the header `Authorization: Bearer TOKEN`"

log = structlog.get_logger("jobqueue.api")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request. `via` is how it comes to us, for the audit; without a `user_id` it is this host itself."""

    user_id: int | None
    name: str
    is_admin: bool
    via: str = "api"

    def scope(self, role: Role = Role.VIEWER) -> Scope:
        """The programs in which the caller has at least this role; `EVERYTHING` for administrators."""
        if self.is_admin:
            return EVERYTHING
        if self.user_id is None:
            raise ValueError(f"the caller {self.name!r} is neither an administrator nor a user")
        return Scope(self.user_id, role)


THIS_HOST = Caller(None, "localhost", is_admin=True)
"""Who asks without a token from a loopback address, where the operator said `auth: none`."""


class Unauthenticated(Problem):
    """401, the same for a token that is missing, malformed, unknown, expired or revoked."""

    def __init__(self) -> None:
        detail = "This needs a valid token, sent as the header Authorization: Bearer TOKEN."
        super().__init__(401, "Unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


class IdentityProviderUnavailable(Problem):
    """503: the token may be good, but the keys to check it cannot be had now."""

    def __init__(self) -> None:
        detail = "The identity provider does not answer, so this token cannot be checked now. Repeat it later."
        super().__init__(503, "Identity provider unavailable", detail, headers={"Retry-After": "10"})


class Callers:
    """Says who makes the requests of one application. Lookups are remembered for `REMEMBERED_FOR` seconds."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._recent: Recent[Caller | None] = Recent(REMEMBERED_FOR, MOST_REMEMBERED)
        self._uses = Uses(lambda: services.queue.engine)
        self._hint = _Hint()
        self._lock = threading.Lock()
        self._provider: IdentityProvider | None = None

    def who(self, request: Request) -> Caller:
        """The caller of this request. Raises `Unauthenticated`; 403 for what a browser was led to ask; as `Services` does."""
        given = request.headers.getlist("authorization")
        caller = self._bearer(given) if given else self._without_token(request)
        if caller is None:
            self._hint.give()
            raise Unauthenticated
        request.state.caller_name = caller.name
        return caller

    def _without_token(self, request: Request) -> Caller | None:
        if self._services.settings.api.auth != "none" or not from_this_host(request):
            return None
        if reason := refusal(request):
            raise Problem(403, "Forbidden", reason)
        return THIS_HOST

    def _bearer(self, given: list[str]) -> Caller | None:
        secret = bearer(given)
        if secret is None or len(secret) > LONGEST_TOKEN:
            return None
        key, asked_at = fingerprint(secret), time.monotonic()
        if known := self._recent.recall(key):
            return known[0]
        caller = self._look_up(secret)
        self._recent.remember(key, caller, asked_at)
        return caller

    def _look_up(self, secret: str) -> Caller | None:
        if secret.startswith(MARK):
            return self._of_token(secret) if len(secret) == LENGTH else None
        jwt = self._services.settings.api.jwt
        return self._of_jwt(secret, jwt) if jwt.jwks_url and secret.count(".") == 2 else None

    def _of_token(self, secret: str) -> Caller | None:
        found = self._services.queue.read(lambda connection: identify(connection, secret))
        if found is None:
            return None
        if found.unnoted:
            self._uses.note(found.token_id)
        return Caller(found.user_id, found.name, found.is_admin)

    def _of_jwt(self, secret: str, jwt: Jwt) -> Caller | None:
        from ..access.jwt import KeysUnavailable, make_provider  # with cryptography, which only this needs

        with self._lock:
            self._provider = self._provider or make_provider(jwt)
        try:
            subject = self._provider.subject_of(secret)
        except KeysUnavailable:
            raise IdentityProviderUnavailable from None
        user = subject and self._services.queue.read(lambda connection: find_subject(connection, subject))
        return Caller(user.id, user.name, user.is_admin) if user else None


class _Hint:
    """Tells the operator how to make a token, once a minute at the most, however many ask without one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due = 0.0

    def give(self) -> None:
        with self._lock:
            if time.monotonic() < self._due:
                return
            self._due = time.monotonic() + HINT_EVERY
        log.warning("request.unauthenticated", hint=HOW_TO)


class AskedFirst(APIRoute):
    """A route that finds out who asks before it reads the body: strangers cost no parsing, and learn nothing of what fits."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Ask first where a caller is needed."""
        usual = super().get_route_handler()
        needs_caller = any(each.call is caller for each in self.dependant.dependencies)

        async def asking(request: Request) -> Response:
            if needs_caller:
                await caller(request)
            return await usual(request)

        return asking


async def caller(request: Request) -> Caller:
    """The dependency of every route but the probes. The database is asked in a thread, once for a request."""
    if not hasattr(request.state, "caller"):
        callers: Callers = request.app.state.callers
        request.state.caller = await run_in_threadpool(callers.who, request)
    found: Caller = request.state.caller
    return found


CallerOf = Annotated[Caller, Depends(caller)]
"""`def route(caller: CallerOf)`: who asks; the request is refused before the route runs when nobody may."""
