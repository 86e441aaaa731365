"""Field masks: `nextPageToken,files(id,capabilities/canDownload)`, really applied."""

from __future__ import annotations

import re
from typing import Any

from . import discovery

Mask = dict[str, Any]
_TOKEN = re.compile(r"[A-Za-z0-9_]+|[*,()/]")


class BadMask(ValueError):
    """The text is no field mask, or names a field that does not exist."""


def parse(text: str, schema_name: str) -> Mask:
    """The mask as nested mappings; `{}` stands for everything below. Raises `BadMask`."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text.replace(" ", ""):
        raise BadMask(f"Invalid field selection {text}")
    mask = _fields(tokens, closing=False)
    _check({"$ref": schema_name}, mask)
    return mask


def _fields(tokens: list[str], closing: bool) -> Mask:
    mask: Mask = {}
    while True:
        path = [_name(tokens)]
        while tokens[:1] == ["/"]:
            tokens.pop(0)
            path.append(_name(tokens))
        inner: Mask = {}
        if tokens[:1] == ["("]:
            tokens.pop(0)
            inner = _fields(tokens, closing=True)
        for name in reversed(path[1:]):
            inner = {name: inner}
        _merge(mask, path[0], inner)
        following = tokens.pop(0) if tokens else None
        if following != ",":
            if following != (")" if closing else None):
                raise BadMask("Invalid field selection: unbalanced")
            return mask


def _merge(mask: Mask, name: str, inner: Mask) -> None:
    if name in mask and mask[name] and inner:
        mask[name] |= inner
    else:
        mask[name] = inner


def _name(tokens: list[str]) -> str:
    if not tokens or not (tokens[0] == "*" or tokens[0].isidentifier()):
        raise BadMask("Invalid field selection")
    return tokens.pop(0)


def _check(wanted: Any, mask: Mask) -> None:
    while "$ref" in wanted or wanted.get("type") == "array":
        wanted = discovery.schema(wanted["$ref"]) if "$ref" in wanted else wanted["items"]
    for name, inner in mask.items():
        below = wanted.get("properties", {}).get(name) or wanted.get("additionalProperties")
        if name != "*" and below is None:
            raise BadMask(f"Invalid field selection {name}")
        if inner and name != "*":
            _check(below, inner)


def applied(mask: Mask, value: Any) -> Any:
    """The part of `value` that the mask selects."""
    if not mask or "*" in mask:
        return value
    if isinstance(value, list):
        return [applied(mask, each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: applied(inner, value[name]) for name, inner in mask.items() if name in value}
