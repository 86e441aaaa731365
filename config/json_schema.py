"""The JSON Schema of jobqueue.yaml, for editors: the settings, their short forms, and `${...}` in place of scalars."""

from __future__ import annotations

from typing import Any

from .durations import format_duration
from .settings import Settings

_REFERENCE = {"$ref": "#/$defs/Reference"}


def schema() -> dict[str, Any]:
    """The schema as a new dictionary, in the vocabulary that editors understand (draft-07)."""
    whole = Settings.model_json_schema(mode="validation")
    for section in [whole, *whole["$defs"].values()]:
        section.pop("title", None)
        section["properties"] = {key: _editable(field) for key, field in section["properties"].items()}
    _add_short_forms(whole["properties"])
    del whole["properties"]["run_dir"]["default"]
    whole["patternProperties"] = {"^x-": {}}
    whole["$defs"]["Reference"] = {
        "type": "string",
        "pattern": r"\$\{[A-Za-z_]",
        "description": "Filled in from the environment: ${NAME}, ${NAME:-default} or ${NAME:?message}.",
    }
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "jobqueue.yaml", **whole}


def _editable(field: dict[str, Any]) -> dict[str, Any]:
    """The field as it may be written: durations as text in its default, levels in any case, references for scalars."""
    left_out = {"title", "x-duration"} | ({"default"} if "$ref" in field else set())
    kept = {key: value for key, value in field.items() if key not in left_out}
    field = {**kept, **_default(field)}
    for choice in field.get("anyOf", []):
        choice.pop("x-duration", None)
    if field.get("enum") and "INFO" in field["enum"]:
        field["enum"] = [*field["enum"], *(level.lower() for level in field["enum"])]
    if _takes_references(field):
        notes: dict[str, Any] = {key: field.pop(key) for key in ("description", "default") if key in field}
        return {**notes, "anyOf": [*field.get("anyOf", [field]), _REFERENCE]}
    return field


def _default(field: dict[str, Any]) -> dict[str, Any]:
    if "x-duration" in field and field.get("default") is not None:
        return {"default": format_duration(field["default"])}
    return {}


def _takes_references(field: dict[str, Any]) -> bool:
    if field.get("type") in ("integer", "number", "boolean") or "enum" in field or "pattern" in field:
        return True
    return any(_takes_references(choice) for choice in field.get("anyOf", []))


def _add_short_forms(properties: dict[str, Any]) -> None:
    workers, job_types = properties["workers"], properties["job_types"]
    properties["workers"] = {
        **{key: value for key, value in workers.items() if key != "$ref"},
        "anyOf": [{"type": "integer", "minimum": 1}, {"$ref": workers["$ref"]}, _REFERENCE],
    }
    job_types["additionalProperties"] = {"anyOf": [{"type": "string"}, job_types["additionalProperties"]]}
