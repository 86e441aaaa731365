"""`${VAR}`, `${VAR:-default}` and `${VAR:?message}` inside a scalar, and `$$` for a dollar sign."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .problems import did_you_mean

_DOLLAR = re.compile(r"\$\$|\$\{")
_REFERENCE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<how>:-|:\?)(?P<rest>[^}]*))?\}")


class CannotInterpolate(ValueError):
    """A reference cannot be filled in. `offset` counts the letters before it in the scalar; `hint` says what to do."""

    def __init__(self, offset: int, message: str, hint: str) -> None:
        super().__init__(message)
        self.offset = offset
        self.hint = hint


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """The text with every reference replaced. A variable that is set but empty counts as not set, as in a shell's `:-`.

    What a variable contains is not looked at again: it can add neither references nor YAML. Raises `CannotInterpolate`.
    """
    parts, position = [], 0
    while found := _DOLLAR.search(text, position):
        parts.append(text[position : found.start()])
        if found[0] == "$$":
            parts.append("$")
            position = found.end()
            continue
        reference = _reference(text, found.start())
        parts.append(_value(reference, environment))
        position = reference.end()
    return "".join([*parts, text[position:]])


def _reference(text: str, offset: int) -> re.Match[str]:
    reference = _REFERENCE.match(text, offset)
    if reference is None:
        raise CannotInterpolate(
            offset, f"{text[offset : offset + 30]!r} is not a reference to a variable",
            "write ${NAME}, ${NAME:-default} or ${NAME:?message}; for a dollar sign in front of { write $$",
        )
    if "${" in (reference["rest"] or ""):
        raise CannotInterpolate(offset, "a default cannot contain another ${...}", "set the variable instead")
    return reference


def _value(reference: re.Match[str], environment: Mapping[str, str]) -> str:
    name, how, rest = reference["name"], reference["how"], reference["rest"]
    value = environment.get(name, "")
    if value or how == ":-":
        return value or rest
    if how is None and name in environment:
        return ""
    reason = (rest or "").strip() or f"the environment variable {name} is not set"
    near = did_you_mean(name, environment) if how is None else ""
    raise CannotInterpolate(
        reference.start(), reason if how is None else f"{name}: {reason}",
        near or f"set {name}, or give a default: ${{{name}:-...}}",
    )
