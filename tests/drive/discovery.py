"""The discovery document of Drive v3 in the client library's wheel, as a judge of answers and parameters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

Schema = Mapping[str, Any]


@cache
def document() -> Schema:
    """The whole document."""
    place = files("googleapiclient") / "discovery_cache" / "documents" / "drive.v3.json"
    return dict(json.loads(place.read_text(encoding="utf-8")))


def method(resource: str, name: str) -> Schema:
    """One method of the API."""
    return dict(document()["resources"][resource]["methods"][name])


def schema(name: str) -> Schema:
    """One named schema."""
    return dict(document()["schemas"][name])


def problems_of_answer(name: str, answer: Any) -> list[str]:
    """What in `answer` the schema of that name does not allow: unknown fields and wrong types, each with its place."""
    return list(_problems(schema(name), answer, name))


def _problems(wanted: Schema, value: Any, place: str) -> Iterator[str]:
    if "$ref" in wanted:
        yield from _problems(schema(wanted["$ref"]), value, place)
    elif wanted["type"] == "object":
        yield from _object_problems(wanted, value, place)
    elif wanted["type"] == "array":
        if not isinstance(value, list):
            yield f"{place}: {value!r} is not an array"
        else:
            for index, each in enumerate(value):
                yield from _problems(wanted["items"], each, f"{place}[{index}]")
    elif not _is_scalar(wanted, value):
        yield f"{place}: {value!r} is not a {wanted['type']} of format {wanted.get('format')}"


def _object_problems(wanted: Schema, value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: {value!r} is not an object"
        return
    for key, each in value.items():
        inner = wanted.get("properties", {}).get(key) or wanted.get("additionalProperties")
        if inner is None:
            yield f"{place}.{key}: there is no such field"
        else:
            yield from _problems(inner, each, f"{place}.{key}")


def _is_scalar(wanted: Schema, value: Any) -> bool:
    if wanted["type"] == "boolean":
        return isinstance(value, bool)
    if wanted["type"] in ("integer", "number"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(value, str):
        return bool(wanted["type"] == "any")
    return _is_formatted(wanted.get("format"), value)


def _is_formatted(form: str | None, text: str) -> bool:
    try:
        if form == "int64":
            return str(int(text)) == text
        if form == "date-time":
            return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
    return True


def problems_of_parameters(resource: str, name: str, given: Mapping[str, str]) -> list[str]:
    """Which of a request's parameters, those in its path included, the method does not take, or not with this value."""
    wanted = method(resource, name).get("parameters", {})
    found = [f"{key}: {method(resource, name)['id']} needs it" for key, each in wanted.items() if _missing(key, each, given)]
    for key, value in given.items():
        parameter = wanted.get(key) or document()["parameters"].get(key)
        if parameter is None:
            found.append(f"{key}: {method(resource, name)['id']} has no such parameter")
        elif not _is_parameter(parameter, value):
            found.append(f"{key}: {value!r} is not a {parameter['type']} in range")
    return found


def _missing(key: str, parameter: Schema, given: Mapping[str, str]) -> bool:
    return bool(parameter.get("required")) and key not in given


def _is_parameter(parameter: Schema, value: str) -> bool:
    if parameter["type"] == "boolean":
        return value in ("true", "false")
    if parameter["type"] == "integer":
        low, high = int(parameter.get("minimum", -(2**31))), int(parameter.get("maximum", 2**31))
        return value.lstrip("-").isdigit() and low <= int(value) <= high
    return bool(value in parameter.get("enum", [value]))
