"""One log line for each request: `http.request`, without query strings, headers or ids, so without secrets.

It also gives each request an id, which every line logged for it carries, and the answer as `X-Request-ID`.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import Any

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .places import is_probe, template_of

REQUEST_ID = "X-Request-ID"

_TRUSTED = re.compile(rb"[A-Za-z0-9._-]{1,64}")
"""What a client may choose as its request's id: nothing that could forge a line or fill a disk."""

log = structlog.get_logger("jobqueue.http")


class AccessLog:
    """The middleware. It stands outermost, so that what others refuse is logged too; answered probes are told at debug only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, and its line when it is over."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, request_id = time.perf_counter(), _id_of(scope)
        status: int | None = None

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, noting)
            finally:
                _tell(scope, status, time.perf_counter() - began)


def _tell(scope: Scope, status: int | None, seconds: float) -> None:
    """`status` is None when the client went away before it was answered, or the program failed in mid-answer."""
    facts: dict[str, Any] = {"method": scope["method"], "path": template_of(scope), "status": status}
    if caller := scope.get("state", {}).get("caller_name"):
        facts["caller"] = caller
    log.log(_level(scope, status), "http.request", **facts, duration_ms=round(1000 * seconds, 1))


def _level(scope: Scope, status: int | None) -> int:
    if is_probe(scope) and status is not None and status < 400:
        return logging.DEBUG
    return logging.WARNING if status is not None and status >= 500 else logging.INFO


def _id_of(scope: Scope) -> str:
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(given) == 1 and _TRUSTED.fullmatch(given[0]):
        return str(given[0], "ascii")
    return secrets.token_hex(8)
