"""Reading a JSON body strictly: what two readers could understand differently, or a database cannot store, is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from .callers import AskedFirst

LARGE = 8_192
"""A body of more bytes is read in a thread: all other requests would wait for it."""

LARGE_AT_ONCE = 4
"""Large bodies that are read and answered at the same time: their values take many times the memory of their bytes."""

MOST_VALUES = 50_000
"""Values in one body. Reading two million bytes of empty lists keeps Python from everything else for a second."""

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


def read_json(body: bytes) -> Any:
    """The value that a body holds. Raises `json.JSONDecodeError`.

    Refused are: other encodings than UTF-8, a key that stands twice in one object, NaN and infinities however they are
    written, numbers too long to read, NUL characters and lone surrogates, more than `MOST_VALUES`, and what is nested too
    deeply to read.
    """
    if _values(body) > MOST_VALUES and _values(_without_texts(body)) > MOST_VALUES:
        raise _refused(f"it holds more than {MOST_VALUES} values")
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


def _values(body: bytes) -> int:
    """How many values there are at most."""
    return sum(body.count(mark) for mark in (b",", b"[", b"{"))


def _without_texts(body: bytes) -> bytes:
    """What stands outside of quotation marks."""
    return b"".join(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])


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
        body = await self.body()
        return await run_in_threadpool(read_json, body) if len(body) > LARGE else read_json(body)


class _Reading(APIRoute):
    def get_route_handler(self) -> Endpoint:
        usual = super().get_route_handler()

        async def strict(request: Request) -> Response:
            own = StrictRequest(request.scope, request.receive)
            if len(await own.body()) <= LARGE:
                return await usual(own)
            async with request.app.state.large_bodies:
                return await usual(own)

        return strict


class StrictRoute(AskedFirst, _Reading):
    """A route whose JSON bodies are read by `read_json`, once it is known who asks; few large ones at a time."""
