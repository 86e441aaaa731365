"""What values of requests and answers look like: numbers that fit the columns, text that both databases store, times in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, PlainSerializer, WithJsonSchema
from starlette.convertors import Convertor, register_url_convertor


class Digits(Convertor[str]):
    """Digits in an address, however many: told from words by the router, and read by the route."""

    regex = "[0-9]+"

    def convert(self, value: str) -> str:
        """The text as it is: Python reads only so many digits."""
        return value

    def to_string(self, value: str) -> str:
        """The text as it is."""
        return value


register_url_convertor("digits", Digits())

SMALL = 2**31
BIG = 2**63

_NUMBER = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}", re.ASCII)


def written_plainly(value: Any) -> Any:
    """A number in an address as it is; raises ValueError for `1_0`, ` 1` and whatever else Python reads as a number."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError("is not a whole number")
    return value


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("contains a NUL character, which Postgres cannot store")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("contains a lone surrogate, which is no text that UTF-8 can carry")
    return text


def _spelled_out(value: Any) -> Any:
    if isinstance(value, str) and not _MOMENT.match(value):
        raise ValueError("is not a time like 2024-01-01T10:00:00Z")
    if isinstance(value, str | datetime):
        return value
    raise ValueError("is not a text with a time like 2024-01-01T10:00:00Z")


def _within_the_calendar(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside of the years 1 to 9999 in UTC") from None


def zulu(moment: datetime) -> str:
    """A time as the specification writes it: `2024-01-01T10:00:00Z`, microseconds only when there are any."""
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


Small = Annotated[int, Field(ge=-SMALL, lt=SMALL)]
"""A number that fits into 32 bits."""

ProgramId = Annotated[int, BeforeValidator(written_plainly), Field(ge=-SMALL, lt=SMALL)]
"""A program's id in an address."""

JobId = Annotated[int, BeforeValidator(written_plainly), Field(ge=1, lt=BIG)]
"""A job's id in an address."""

Text = Annotated[str, AfterValidator(_storable)]
"""Text that both databases store."""

Instant = Annotated[datetime, PlainSerializer(zulu, return_type=str), WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time in an answer."""

GivenInstant = Annotated[
    AwareDatetime,
    Field(strict=False),
    BeforeValidator(_spelled_out),
    AfterValidator(_within_the_calendar),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time in a request; it needs a zone."""
