"""Every refusal as a problem document (RFC 9457), and nothing in it that tells a foreign id from a missing one."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backends import BadDatabaseUrl, BadParameters, DatabaseUnavailable, KeyProblem, SchemaMismatch
from config import ConfigError

from .mistakes import Mistake, mistakes_of
from .places import template_of

MEDIA_TYPE = "application/problem+json"

RETRY_AFTER = 2
"""Seconds after which a request that met an unreachable database may be repeated."""

log = structlog.get_logger("jobqueue.api")

Handler = Callable[[Request, Exception], Awaitable[Response]]


class Problem(Exception):
    """A request that is refused. `extra` are further members of the document; the type's URI is made from the title.

    Titles are few and stable (`/problems/` in docs/api.md lists them); `detail` says what, where and what to do.
    """

    def __init__(
        self, status: int, title: str, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})
        self.document = {"type": type_of(title), "title": title, "status": status, "detail": detail, **extra}

    def response(self) -> Response:
        """The answer to send."""
        # ASCII: what was sent to us may hold lone surrogates, which UTF-8 cannot carry.
        text = json.dumps(self.document)
        headers = {"Cache-Control": "no-store"} | self.headers
        return Response(text, self.status, headers, media_type=MEDIA_TYPE)


def type_of(title: str) -> str:
    """The problem type's URI, relative to the API: `/problems/not-found`."""
    return "/problems/" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


class NotFound(Problem):
    """There is nothing under this id or address, or nothing that the caller may see: the same bytes for all of them."""

    def __init__(self) -> None:
        super().__init__(404, "Not found", "There is nothing here, or nothing that you may see.")


NOT_FOUND = NotFound().document
"""What foreign and missing are answered with."""


class Forbidden(Problem):
    """The caller sees it, and may not do this to it. `needed` is who may."""

    def __init__(self, needed: str) -> None:
        super().__init__(403, "Forbidden", f"This needs {needed}.")


class Invalid(Problem):
    """What was sent does not fit; each mistake says where, what and how to mend it."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        errors = [mistake._asdict() for mistake in mistakes]
        super().__init__(422, "Invalid request", "The request has mistakes; see errors.", errors=errors)


class Conflict(Problem):
    """The job's status does not allow it."""

    def __init__(self, detail: str) -> None:
        super().__init__(409, "Conflict", detail)


def install(app: FastAPI) -> None:
    """Have the application answer every exception with a problem document."""
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.add_middleware(Unexpected)


async def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return Invalid(mistakes_of(error.errors())).response()


async def _bad_parameters(request: Request, error: Exception) -> Response:
    return Invalid([Mistake("body", str(error), "Send what the message asks for.")]).response()


async def _unavailable(request: Request, error: Exception) -> Response:
    # The driver's words name hosts and users: they are for the log.
    log.warning("api.database_unavailable", path=template_of(request.scope), error=str(error))
    return Problem(
        503,
        "Database unavailable",
        "The database cannot be reached or did not answer in time. Nothing is wrong with the request: repeat it later.",
        headers={"Retry-After": str(RETRY_AFTER)},
    ).response()


async def _mismatch(request: Request, error: Exception) -> Response:
    log.error("api.schema_mismatch", path=template_of(request.scope), error=str(error))
    return Problem(503, "Schema mismatch", str(error)).response()


async def _without_key(request: Request, error: Exception) -> Response:
    log.error("api.encryption_key", path=template_of(request.scope), error=str(error))
    return Problem(
        503,
        "Secrets unavailable",
        "The encryption key that this needs is not there, or cannot be used. Whoever runs this installation restores it or, where"
        " there never was one, makes one with `supervisor secrets new-key`; the log and `supervisor doctor` say more.",
    ).response()


async def _unconfigured(request: Request, error: Exception) -> Response:
    log.error("api.configuration", path=template_of(request.scope), error=str(error))
    return Problem(
        503, "Not configured", "The configuration of this API cannot be used; its log and `supervisor config check` say why."
    ).response()


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return NotFound().response()
    if error.status_code == 405:
        allowed = _with_head((error.headers or {}).get("Allow", ""))
        detail = f"{request.method} is not allowed here. Use {allowed}."
        return Problem(405, "Method not allowed", detail, headers={"Allow": allowed}).response()
    title = _TITLES.get(error.status_code, "Refused")
    return Problem(error.status_code, title, str(error.detail), headers=error.headers).response()


def _with_head(allowed: str) -> str:
    methods = {each.strip() for each in allowed.split(",")}
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))


_TITLES = {400: "Bad request", 413: "Body too large", 415: "Unsupported media type", 429: "Too many requests"}

HANDLERS: dict[type[Exception], Handler] = {
    Problem: _known,
    RequestValidationError: _invalid,
    HTTPException: _of_http,
    BadParameters: _bad_parameters,
    DatabaseUnavailable: _unavailable,
    SchemaMismatch: _mismatch,
    KeyProblem: _without_key,
    ConfigError: _unconfigured,
    BadDatabaseUrl: _unconfigured,
}
"""How each kind of exception is answered; what is none of them is answered by `Unexpected`."""


class Unexpected:
    """Answers what nobody expected with 500 and an id, under which the log has the traceback.

    Starlette's own handler of `Exception` raises it again, and the server would log it a second time.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        began = False

        async def noting(message: Message) -> None:
            nonlocal began
            began = began or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception:
            if scope["type"] != "http":
                raise
            number = secrets.token_hex(8)
            log.exception("api.failed", error_id=number, method=scope["method"], path=template_of(scope))
            if began:
                raise
            detail = f"This is a fault of the API. Its log says more under {number}."
            await Problem(500, "Internal error", detail, error_id=number).response()(scope, receive, send)
