"""Taking secrets out of job parameters: which names are those of secrets, and what is left when they are gone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, case, func, null, or_

from .bounds import octets
from .job import LARGEST_CLAIMED
from .paths import Place

MASK = "***"

TELLTALES = ("token", "pass", "pwd", "secret", "bearer", "auth", "credential", "key", "service", "account")
"""Every name of a secret has one of these in it. Looking for them costs next to nothing."""

ESCAPE = "\\u00"
"""JSON may spell the letters of a name so."""

MOST_SECRETS = 1_000
"""In the parameters of one job that another program wrote: each of them costs a row and an encryption."""

UNREADABLE = f"(taken out: this was not JSON and seemed to hold a secret, or it held more than {MOST_SECRETS} of them)"
WHOLE = "job_parameters"
"""The name under which a text that is not JSON and seems to hold a secret, or that holds too many, is kept as a whole."""

_LONGEST_KEY = 500
"""Characters from its end by which a key is judged: only its last two words matter, and they are short."""

_LAST_WORDS = frozenset({
    "token", "tokens", "bearer", "password", "passwords", "passwd", "pwd", "passphrase", "secret", "secrets",
    "authorization", "credential", "credentials", "apikey", "apikeys", "accesstoken", "refreshtoken", "idtoken",
    "clientsecret", "privatekey",
})
_LAST_TWO_WORDS = frozenset({
    "private_key", "api_key", "secret_key", "access_key", "signing_key", "encryption_key", "service_account", "account_key",
    "account_json", "account_info", "private_keys", "api_keys",
})
_HARMLESS = frozenset({
    "page_token", "sync_token", "continuation_token", "change_token", "start_token", "cursor_token", "next_token",
})
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+")
_SCALARS = frozenset({str, int, float, bool, type(None)})


class Parted(NamedTuple):
    """Parameters without their secrets, and these as text, by their paths: `drive.access_token`, `accounts[0].password`.

    The end of a long path is replaced by its hash.
    """

    kept: Any
    secrets: dict[str, str]


def names_a_secret(key: str) -> bool:
    """Whether what stands under this key is a secret, however the words are joined; a page token is none."""
    return _ends_like_a_secret(key[-_LONGEST_KEY:])


@lru_cache(4096)
def _ends_like_a_secret(key: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(key)]
    last, last_two = "".join(words[-1:]), "_".join(words[-2:])
    return (last in _LAST_WORDS or last_two in _LAST_TWO_WORDS) and last_two not in _HARMLESS


def may_hold_secrets(text: str) -> bool:
    """A cheap look at JSON text: False means that no key in it names a secret."""
    lowered = text.lower()
    return any(word in lowered for word in TELLTALES) or ESCAPE in text


def suspects(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """SQL for the text of a column if it may hold secrets, else NULL; so that other texts need not travel.

    NULL for one with which the job fails anyway: looking into hundreds of megabytes would stop all others.
    """
    lowered = func.lower(column)
    telltale = or_(*(lowered.contains(word, autoescape=True) for word in (*TELLTALES, ESCAPE)))
    return case((octets(column) > LARGEST_CLAIMED, null()), (telltale, column), else_=null())


def part(parameters: Any) -> Parted:
    """Take the secrets out of parameters, which stay as they are. What has no content (null, true, "") is no secret."""
    return _part(parameters, most=None)


def secret_paths(parameters: Any) -> list[str]:
    """The paths of the secrets among parameters."""
    return list(part(parameters).secrets)


def part_text(text: str) -> tuple[str, dict[str, str]]:
    """The same for JSON text as anybody may have written it, at a cost that grows with nothing but its size.

    What is not JSON, or holds more than `MOST_SECRETS`, is taken out as a whole.
    """
    try:
        value, repeats, names = _read(text)
        if not (repeats or names):
            return text, {}
        kept, found = _part(value, MOST_SECRETS)
        return (json.dumps(kept) if found or repeats else text), found
    except (ValueError, RecursionError):
        return UNREADABLE, {WHOLE: text}


def masked(parameters: Any) -> Any:
    """Parameters for people: secrets that nobody has taken out yet are masked."""
    if isinstance(parameters, dict):
        return {key: MASK if _is_secret(key, value) else masked(value) for key, value in parameters.items()}
    return [masked(value) for value in parameters] if isinstance(parameters, list) else parameters


def _read(text: str) -> tuple[Any, bool, bool]:
    """The value; whether an object had a key twice: readers see the last one, the text both; whether a key names a secret."""
    repeats = names = False

    def read(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeats, names
        found = dict(pairs)
        repeats = repeats or len(found) < len(pairs)
        names = names or any(map(names_a_secret, found))
        return found

    return json.loads(text, object_pairs_hook=read), repeats, names


class _TooMany(ValueError):
    """There are more secrets than may be taken out one by one."""


def _part(parameters: Any, most: int | None) -> Parted:
    found: dict[str, str] = {}

    def without(value: Any, place: Place) -> Any:
        if isinstance(value, Mapping):
            return {key: below(inner, place, str(key)) for key, inner in value.items() if not take(key, inner, place)}
        if isinstance(value, list | tuple):
            return [below(inner, place, index) for index, inner in enumerate(value)]
        return value

    def below(value: Any, place: Place, step: str | int) -> Any:
        return without(value, Place(place, step)) if value and type(value) not in _SCALARS else value

    def take(key: Any, value: Any, place: Place) -> bool:
        if not _is_secret(key, value):
            return False
        if most is not None and len(found) >= most:
            raise _TooMany
        found[place.name_of(str(key)).stored] = value if isinstance(value, str) else json.dumps(value)
        return True

    return Parted(without(parameters, Place()), found)


def _is_secret(key: object, value: object) -> bool:
    """Numbers of tokens or secrets are none; one password that is a number is one."""
    if not isinstance(key, str) or value is None or isinstance(value, bool) or value in ("", [], {}):
        return False
    if not names_a_secret(key):
        return False
    return not (isinstance(value, int | float) and key.lower().endswith("s"))
