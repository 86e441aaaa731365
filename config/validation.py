"""From the tree to `Settings`, and from pydantic's errors to problems with a place, a reason and a fix."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .checks import Finding, findings
from .fields import keys, section_at
from .kinds import describe
from .problems import SHOWN_AT_MOST, Place, Problem, did_you_mean
from .settings import Settings
from .tree import Branch, Path, at, dotted, key_source, plain

_ROUNDS = 5
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
    "string": "a text",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
}
_NEEDS = {
    "handler": "a job type needs one; write handler: module:function",
    "id": "write id: and a whole number that no other program has",
    "name": "write name: and what people call it",
}


def validate(tree: Branch) -> tuple[Settings | None, list[Problem]]:
    """The settings, and everything that is wrong with them; the settings count only when nothing is wrong."""
    data = plain(tree)
    broken: list[Path] = []
    problems: list[Problem] = []
    for round_number in range(_ROUNDS):
        try:
            settings = Settings.model_validate(data)
        except ValidationError as error:
            for details in error.errors(include_url=False)[: SHOWN_AT_MOST + 1]:
                path = _path(details)
                problems += [_problem(details, path, tree)] if round_number == 0 else []
                broken.append(path)
                _remove(data, path)
        else:
            return settings, problems + [_of_finding(finding, tree) for finding in _sound(settings, broken)]
    return None, problems


def _path(details: ErrorDetails) -> Path:
    return tuple(step for step in details["loc"] if step != "[key]")


def _remove(data: Any, path: Path) -> None:
    """Take the value at `path` out, or what should have held it, so that the rest can be checked."""
    holder, key = None, None
    for taken, step in enumerate(path, 1):
        if isinstance(data, dict) and step in data:
            holder, key = data, step
            data = data[step]
        elif isinstance(data, tuple) and isinstance(step, int) and step < len(data):
            data = data[step]
        elif taken < len(path):
            return
    if holder is not None:
        del holder[key]


def _sound(settings: Settings, broken: list[Path]) -> Iterable[Finding]:
    """The findings that do not rest on a value that had to be taken out."""
    for finding in findings(settings):
        if not any(_touch(path, other) for path in (finding.path, *finding.depends_on) for other in broken):
            yield finding


def _touch(path: Path, other: Path) -> bool:
    length = min(len(path), len(other))
    return path[:length] == other[:length]


def _of_finding(finding: Finding, tree: Branch) -> Problem:
    node, taken = at(tree, finding.path)
    missing = finding.code == "CFG-MISSING"
    where = _nearest_place(tree, finding) if taken < len(finding.path) and not missing else node.source.place
    path = finding.path[:-1] if missing else finding.path
    return Problem(where, finding.code, f"{dotted(path)}: {finding.message}", finding.hint)


def _nearest_place(tree: Branch, finding: Finding) -> Place | None:
    """For a value that is a default: the place of the one that does not fit to it."""
    for path in finding.depends_on:
        node, taken = at(tree, path)
        if taken == len(path):
            return node.source.place
    return None


def _problem(details: ErrorDetails, path: Path, tree: Branch) -> Problem:
    kind, value = details["type"], details["input"]
    if kind == "extra_forbidden":
        return _unknown(path, tree)
    if kind == "missing":
        return _missing(path, tree)
    source = key_source(tree, path) if "[key]" in details["loc"] else at(tree, path)[0].source
    code, message, hint = _reason(kind, value, details)
    return Problem(source.place, code, f"{dotted(path)}: {message}", hint)


def _reason(kind: str, value: object, details: ErrorDetails) -> tuple[str, str, str]:
    context = details.get("ctx", {})
    if kind == "refused":
        return context["code"], context["message"], context["hint"]
    if kind == "literal_error":
        return _not_a_choice(value, re.findall(r"'([^']*)'", context["expected"]))
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        return "CFG-RANGE", f"{value} is out of range", f"write {bound}"
    if kind == "string_too_short":
        return "CFG-TYPE", "is empty", "write something, or leave the setting out"
    expected = _EXPECTED.get(re.sub(r"_(type|parsing|attributes_type|from_float)$", "", kind))
    if expected is None:
        return "CFG-TYPE", f"{details['msg']}; it is {describe(value)}", ""
    return "CFG-TYPE", f"must be {expected}, not {describe(value)}", _advice(expected, value)


def _advice(expected: str, value: object) -> str:
    if expected == "true or false" and str(value).lower() in ("yes", "on", "no", "off"):
        return f"write {'true' if str(value).lower() in ('yes', 'on') else 'false'}; YAML 1.2 reads {value} as text"
    if expected == "a whole number" and isinstance(value, str) and re.fullmatch(r"0[0-9]+", value):
        digits = value.lstrip("0") or "0"
        return f"write {digits}, without leading zeros; an octal number is 0o{digits}"
    if expected == "a text" and isinstance(value, int | float):
        return f'quote it: "{value}"'
    return ""


def _not_a_choice(value: object, choices: list[str]) -> tuple[str, str, str]:
    near = did_you_mean(value, choices) if isinstance(value, str) else ""
    return "CFG-CHOICE", f"must be one of {', '.join(choices)}, not {describe(value)}", near


def _unknown(path: Path, tree: Branch) -> Problem:
    name = str(path[-1])
    section = section_at(path[:-1])
    here = [*section.model_fields] if section else []
    elsewhere = [key.dotted for key in keys() if key.name == name and key.dotted != name]
    hint = did_you_mean(name, here)
    if not hint and len(elsewhere) == 1:
        hint = f"did you mean '{elsewhere[0]}'?"
    known = f"known here: {', '.join(here)}" + ("; keys for anchors begin with x-" if len(path) == 1 else "")
    message = f"{dotted(path)[:120] or repr(name)}: unknown setting '{name[:80]}'"
    return Problem(key_source(tree, path).place, "CFG-UNKNOWN", message, hint or known)


def _missing(path: Path, tree: Branch) -> Problem:
    name = str(path[-1])
    message = f"{dotted(path[:-1])}: '{name}' is missing"
    return Problem(key_source(tree, path[:-1]).place, "CFG-MISSING", message, _NEEDS.get(name, f"write {name}: ..."))
