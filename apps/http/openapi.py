"""What the OpenAPI document says beyond what the routes say themselves: refusals, and how to say who asks."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from . import given, models
from .mistakes import Mistake
from .problems import MEDIA_TYPE

DESCRIPTION = "A job queue in the database you already run: add jobs, follow them, stop them, search what was indexed."

MEANINGS = {
    400: "The request cannot be read.",
    401: "Who asks is not known: send a bearer token.",
    403: "Who asks may not do this.",
    404: "There is nothing, or nothing that who asks may see.",
    408: "The request took too long to arrive.",
    409: "The job's status does not allow it.",
    413: "The body is too large.",
    422: "The request has mistakes; `errors` says where, what and how to mend it.",
    429: "Too many requests; see Retry-After.",
    500: "A fault of the API; its log has it under `error_id`.",
    503: "The database, or the configuration, cannot be used now.",
}

ANYWHERE = (400, 401, 403, 408, 413, 422, 429, 500, 503)
"""What any route that needs to know who asks may be answered with."""

PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": list(Mistake._fields),
                "properties": {name: {"type": "string"} for name in Mistake._fields},
            },
        },
        "error_id": {"type": "string"},
    },
}
"""A problem document of RFC 9457."""


Responses = dict[int | str, dict[str, Any]]
"""What FastAPI takes as `responses`."""


def also(status: int, model: type[BaseModel], description: str) -> Responses:
    """A further answer of a route that is no refusal."""
    return {status: {"model": model, "description": description}}


def refusals(*statuses: int) -> Responses:
    """The `responses` of a route: these refusals, and those that every route may give."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": MEANINGS[status], "content": content} for status in sorted({*statuses, *ANYWHERE})}


def describe(app: FastAPI) -> None:
    """Have `/openapi.json` say all of it."""
    app.title, app.version, app.description = "jobqueue", _version(), DESCRIPTION

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            schemas = made.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = PROBLEM_SCHEMA
            _put_back_examples(schemas)
            made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            _say_who_must_ask(made["paths"])
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _put_back_examples(schemas: dict[str, Any]) -> None:
    """FastAPI leaves out what is null, also in examples, which then lack keys that answers always have."""
    for name, schema in schemas.items():
        kind = getattr(models, name, None) or getattr(given, name, None)
        if "examples" in schema and kind is not None:
            schema["examples"] = kind.model_config["json_schema_extra"]["examples"]


def _say_who_must_ask(paths: dict[str, Any]) -> None:
    """All routes but the probes want a token, unless the configuration says `auth: none`."""
    for operations in paths.values():
        for operation in operations.values():
            if "probes" not in operation.get("tags", ()):
                operation["security"] = [{"token": []}]


def _version() -> str:
    try:
        return version("jobqueue")
    except PackageNotFoundError:
        return "0"
