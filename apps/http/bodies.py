"""Reading a JSON body strictly: what two readers could understand differently, or a database cannot store, is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import Response

from .callers import AskedFirst

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


def read_json(body: bytes) -> Any:
    """The value that a body holds. Raises `json.JSONDecodeError`.

    Refused are: other encodings than UTF-8, a key that stands twice in one object, NaN and infinities however they are
    written, numbers too long to read, NUL characters and lone surrogates, and what is nested too deeply to read.
    """
    try:
        text = body.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=_without_twins, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole
        )
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError:
        raise _refused("the body is not UTF-8") from None
    except RecursionError:
        raise _refused("it is nested too deeply") from None
    if "\\u" in text:
        _refuse_unstorable(value)
    return value


def _refused(why: str) -> json.JSONDecodeError:
    return json.JSONDecodeError(why, "", 0)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _refused("a key stands twice in one object")
    return made


def _no_constant(name: str) -> NoReturn:
    raise _refused(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _refused("a number is too large")
    return number


def _whole(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # more digits than Python converts
        raise _refused("a number has too many digits") from None


def _refuse_unstorable(value: Any) -> None:
    """Only escapes can bring a NUL or a lone surrogate; they may stand in keys too."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            left.extend(each)
            left.extend(each.values())
        elif isinstance(each, list):
            left.extend(each)
        elif isinstance(each, str) and _is_unstorable(each):
            raise _refused("a text contains a NUL character or a lone surrogate")


def _is_unstorable(text: str) -> bool:
    return "\0" in text or (not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text))


class StrictRequest(Request):
    """A request whose body is read by `read_json`."""

    async def json(self) -> Any:
        """The body's value. Raises `json.JSONDecodeError`."""
        return read_json(await self.body())


class StrictRoute(AskedFirst):
    """A route whose JSON bodies are read by `read_json`, once it is known who asks."""

    def get_route_handler(self) -> Endpoint:
        """Hand the route a `StrictRequest`."""
        usual = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await usual(StrictRequest(request.scope, request.receive))

        return strict
