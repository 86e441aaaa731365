"""Paths to values in parameters, `accounts[0].password`: the names under which secrets are kept, however long a key is."""

from __future__ import annotations

import hashlib
import json
import re

LONGEST_NAME = 500
"""Characters of a secret's name: an index takes about 2,700 bytes. The end of a longer one is replaced by its hash."""

_PLAIN = re.compile(r"[\w-]+")


class Name:
    """A name, put together piece by piece: each costs what it is long itself, however long the name is by then."""

    __slots__ = ("_beginning", "_hash")

    def __init__(self) -> None:
        self._beginning, self._hash = "", hashlib.sha256()

    def followed_by(self, piece: str) -> Name:
        """The name with this piece at its end."""
        longer = Name()
        longer._beginning = (self._beginning + piece[:LONGEST_NAME + 1])[:LONGEST_NAME + 1]
        longer._hash = self._hash.copy()
        longer._hash.update(piece.encode("utf-8", "surrogatepass"))
        return longer

    @property
    def stored(self) -> str:
        """The name as it is kept."""
        if len(self._beginning) <= LONGEST_NAME:
            return self._beginning
        digest = self._hash.hexdigest()
        return f"{self._beginning[:LONGEST_NAME - len(digest) - 1]}:{digest}"


class Place:
    """Where a list or an object stands among parameters. Its path is put together when a secret is found in it, and once."""

    __slots__ = ("_above", "_name", "_step")

    def __init__(self, above: Place | None = None, step: str | int = "") -> None:
        self._above, self._step = above, step
        self._name = None if above else Name()

    def name_of(self, step: str | int) -> Name:
        """The path of what stands here under this key or number."""
        return self._path().followed_by(_worded(step, is_first=self._above is None))

    def _path(self) -> Name:
        if self._name is None:
            assert self._above is not None
            self._name = self._above.name_of(self._step)
        return self._name


def stored_name(name: str) -> str:
    """The name as it is kept: the end of a long one is replaced by its hash."""
    return Name().followed_by(name).stored


def _worded(step: str | int, is_first: bool) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if not _PLAIN.fullmatch(step):
        return f"[{json.dumps(step)}]"
    return step if is_first else f".{step}"
