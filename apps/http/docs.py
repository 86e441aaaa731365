"""`/docs`: Swagger UI from this machine alone; nothing is loaded from elsewhere, and nothing elsewhere is told."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from html import escape
from importlib.metadata import files
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from .problems import NotFound

DISTRIBUTION = "fastapi-swagger"
"""Only its copies of Swagger UI's published files are used, and only when they are byte for byte those."""

PUBLISHED = {
    "swagger-ui-bundle.js": "3f6abf70480db7e07914df4c98a77385f22ea585eaf457a3e6415ba0eae2d167",
    "swagger-ui.css": "c3cfe8248c4b0b89673600fb829924eafbac6de4bc4b2b06f5f5243483074d0a",
}
"""SHA-256 of the files of swagger-ui-dist 5.34.0 as npm has them."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)


@router.get("/")
def home(request: Request) -> Response:
    """Show the way to the page; by its path alone, for what a client calls this host is no place to send anybody."""
    return Response(status_code=307, headers={"Location": f"{request.scope.get('root_path', '').rstrip('/')}/docs"})


@router.get("/docs")
def page(request: Request) -> Response:
    """The page; it reads `/openapi.json`, and asks for a token where one is needed."""
    headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(_PAGE.format(root=_root(request)), headers=headers)


@router.get("/docs/start.js")
def start(request: Request) -> Response:
    """What starts Swagger UI: in a file of its own, for the page allows no script in itself."""
    options = {"url": f"{_root(request)}/openapi.json", "dom_id": "#docs", "validatorUrl": None}
    return Response(f"SwaggerUIBundle({json.dumps(options)});\n", media_type="text/javascript")


@router.get("/docs/{name}")
def part(name: str) -> Response:
    """A file of Swagger UI."""
    if name not in PUBLISHED:
        raise NotFound
    return WholeFile(published(name), headers={"Cache-Control": "max-age=86400"})


class WholeFile(FileResponse):
    """A file that is given whole: Starlette refuses a `Range` that it does not understand, which others pass over."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One answer."""
        del self.headers["Accept-Ranges"]
        asked = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": asked}, receive, send)


@cache
def published(name: str) -> Path:
    """Where a file of Swagger UI is, looked at once. Raises RuntimeError when it is not the published one."""
    [found] = [Path(str(file.locate())) for file in files(DISTRIBUTION) or [] if file.name == name]
    if hashlib.sha256(found.read_bytes()).hexdigest() != PUBLISHED[name]:
        raise RuntimeError(f"{found} is not the published file of Swagger UI: reinstall {DISTRIBUTION}")
    return found


def _root(request: Request) -> str:
    return escape(str(request.scope.get("root_path", "")).rstrip("/"))


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>jobqueue API</title>
<link rel="stylesheet" href="{root}/docs/swagger-ui.css">
<div id="docs">The endpoints are described in <a href="{root}/openapi.json">openapi.json</a>.</div>
<script src="{root}/docs/swagger-ui-bundle.js"></script>
<script src="{root}/docs/start.js"></script>
</html>
"""
