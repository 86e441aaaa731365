"""Answers that clients poll for: named by what they hold, so that one who has the same already gets no body."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from .models import Answer

JSON = "application/json"
POLLED = {"Cache-Control": "no-cache, private"}
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "What the client has already, by If-None-Match."}}


def rendered(answer: Answer) -> bytes:
    """The answer as JSON. ASCII only, for a foreign row's parameters may hold what UTF-8 cannot carry."""
    return json.dumps(answer.model_dump(), separators=(",", ":"), allow_nan=False).encode("ascii")


def once(answer: Answer, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that nobody keeps."""
    return Response(rendered(answer), status, {"Cache-Control": "no-store"} | dict(headers or {}), media_type=JSON)


def polled(request: Request, answer: Answer) -> Response:
    """An answer with its ETag; 304 without a body when the client names the same."""
    body = rendered(answer)
    headers = POLLED | {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}
    if _has(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=JSON)


def _has(request: Request, tag: str) -> bool:
    named = (each.strip() for line in request.headers.getlist("if-none-match") for each in line.split(","))
    return any(each == "*" or each.removeprefix("W/") == tag for each in named)
