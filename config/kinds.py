"""The kinds of values that settings have beyond YAML's own: durations, paths, names, handlers, lane templates, URLs.

Each is a pydantic annotation whose validator explains a refusal with a code, a message and a hint.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from string import Formatter
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from .durations import BadDuration, parse_duration
from .masking import mask
from .problems import did_you_mean

LANE_FIELDS = ("program_id", "user_id", "folder_id", "job_type")
SCHEMES = ("sqlite", "postgresql", "postgres", "postgresql+psycopg")
DURATION_PATTERN = r"^\d+(\.\d+)?$|^(\d+(\.\d+)?d)?(\d+(\.\d+)?h)?(\d+(\.\d+)?m)?(\d+(\.\d+)?s)?(\d+(\.\d+)?ms)?$"


def refuse(code: str, message: str, hint: str = "") -> PydanticCustomError:
    """The exception with which a validator refuses a value; `config` turns it into a problem with a place."""
    return PydanticCustomError("refused", "{message}", {"code": code, "message": message, "hint": hint})


def _text(value: object, what: str) -> str:
    if isinstance(value, str):
        return value
    hint = "quote it" if isinstance(value, int | float) else ""
    raise refuse("CFG-TYPE", f"must be {what}, not {describe(value)}", hint)


def describe(value: object) -> str:
    """What a value is, in the words of a YAML file: `the number 5`, `text 'abc'`, `a list`, `nothing (null)`."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {mask(value)[:40]!r}"
        case tuple() | list():
            return "a list"
        case dict():
            return "a mapping"
    return f"a {type(value).__name__}"


def _duration(value: object) -> float:
    try:
        return parse_duration(value)
    except BadDuration as error:
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise refuse("CFG-TYPE", f"must be a duration, not {describe(value)}", error.hint) from None
        raise refuse("CFG-DURATION", str(error), error.hint) from None


def _positive(value: object) -> float:
    seconds = _duration(value)
    if seconds:
        return seconds
    raise refuse("CFG-RANGE", "must be longer than 0", "write a duration such as 1s")


def _path(value: object) -> Path:
    if isinstance(value, Path):
        return value
    text = _text(value, "a path")
    if not text or "\0" in text:
        raise refuse("CFG-PATH", f"{text!r} is not a path", "name a file or folder, or leave the setting out")
    if text.startswith("~"):
        raise refuse("CFG-PATH", "~ is not replaced here", "write ${HOME}/... instead")
    return Path(text)


def _named(what: str, pattern: str) -> Callable[[object], str]:
    allowed = re.compile(pattern)

    def check(value: object) -> str:
        text = _text(value, what)
        if allowed.fullmatch(text):
            return text
        hint = "use up to 100 letters, digits, dots, dashes and underscores"
        raise refuse("CFG-NAME", f"{text[:40]!r} cannot be {what}", hint)

    return check


def _handler(value: object) -> str:
    text = _text(value, "a handler, module:function")
    module, colon, function = text.partition(":")
    if colon and _is_dotted(module) and _is_dotted(function):
        return text
    guess = ":".join(text.rsplit(".", 1)) if not colon and _is_dotted(text) and "." in text else ""
    hint = f"did you mean '{guess}'?" if guess else "write module:function, for example apps.indexing.jobs:full_scan"
    raise refuse("CFG-HANDLER", f"{text[:80]!r} does not name a handler", hint)


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _module(value: object) -> str:
    text = _text(value, "the dotted name of a module")
    if _is_dotted(text):
        return text
    raise refuse("CFG-NAME", f"{text[:80]!r} is not the dotted name of a module", "write it like apps.extension")


def _lane(value: object) -> str | None:
    if value is None or value == "none":
        return None
    text = _text(value, "a lane template, or none")
    advice = "a template may name " + ", ".join(f"{{{name}}}" for name in LANE_FIELDS)
    try:
        parts = [*Formatter().parse(text)]
    except ValueError as error:
        raise refuse("CFG-LANE", f"{text[:80]!r} is not a lane template: {error}", advice) from None
    for _, name, form, conversion in parts:
        if name is not None and (name not in LANE_FIELDS or form or conversion):
            hint = did_you_mean(name, LANE_FIELDS) if name not in LANE_FIELDS else "write the name only"
            raise refuse("CFG-LANE", f"a lane template cannot name {{{name[:40]}}}", hint or advice)
    if not text:
        raise refuse("CFG-LANE", "a lane needs a name", "write none for jobs that may run at the same time")
    return text


def _level(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _database_url(value: object) -> str:
    text = _text(value, "a database URL")
    scheme, separator, rest = text.partition("://")
    if scheme.startswith("sqlite") and scheme != "sqlite":
        raise refuse("CFG-DATABASE-URL", f"{_scheme(scheme)!r} cannot be used", "write sqlite:///path/to/file.db")
    if not separator or scheme not in SCHEMES:
        known = "sqlite:///file.db or postgresql://user@host/database"
        raise refuse("CFG-DATABASE-URL", f"{_scheme(scheme)!r} is not a known kind of database", f"write {known}")
    if not rest or re.search(r"\s", text):
        raise refuse("CFG-DATABASE-URL", "is not complete, or contains a space", "encode a space as %20")
    return _sqlite_url(text, rest) if scheme == "sqlite" else text


def _scheme(scheme: str) -> str:
    return mask(scheme.split(":")[0])[:40]


def _sqlite_url(text: str, rest: str) -> str:
    path = rest.partition("?")[0]
    if path in ("", "/") or ":memory:" in path:
        raise refuse("CFG-DATABASE-URL", "a database in memory cannot be shared by processes", "write sqlite:///file.db")
    if not path.startswith("/") or path.startswith("/file:"):
        hint = f"write sqlite:///{path.removeprefix('/file:')}: three slashes, then the path"
        raise refuse("CFG-DATABASE-URL", f"{mask(text)[:80]!r} names no file", hint)
    if path.startswith("/~"):
        raise refuse("CFG-DATABASE-URL", "~ is not replaced here", "write sqlite:///${HOME}/... instead")
    return text


_DURATION = WithJsonSchema(
    {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": DURATION_PATTERN}], "x-duration": True}
)


def _schema(**keywords: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **keywords})


Duration = Annotated[float, BeforeValidator(_duration), _DURATION]
PositiveDuration = Annotated[float, BeforeValidator(_positive), _DURATION]
AbsolutePath = Annotated[Path, BeforeValidator(_path), _schema()]
DatabaseUrl = Annotated[str, BeforeValidator(_database_url), _schema()]
Handler = Annotated[str, BeforeValidator(_handler), _schema(pattern=r"^[\w.]+:[\w.]+$")]
Module = Annotated[str, BeforeValidator(_module), _schema(pattern=r"^[\w.]+$")]
Lane = Annotated[str | None, BeforeValidator(_lane), WithJsonSchema({"type": ["string", "null"]})]
ProcessId = Annotated[str, BeforeValidator(_named("the id of a process", r"[A-Za-z0-9._-]{1,100}")), _schema()]
JobTypeName = Annotated[
    str, BeforeValidator(_named("the name of a job type", r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")), _schema()
]
UpperCase = BeforeValidator(_level)
Text = Annotated[str, Field(min_length=1)]
