"""The query language of `files.list`: a grammar, and what is not in it is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Found = Mapping[str, Any]
Predicate = Callable[[Found], bool]

_TOKEN = re.compile(r"\s*(?:'((?:[^'\\]|\\.)*)'|(!=|<=|>=|[=<>()])|([A-Za-z]+))")
_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "=": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}
_OPERATORS = {
    "name": {"=", "!=", "contains"}, "mimeType": {"=", "!=", "contains"}, "modifiedTime": {"=", "!=", "<", "<=", ">", ">="},
}


class BadQuery(ValueError):
    """The text is not in the language."""


def parse(text: str) -> Predicate:
    """A predicate on file resources. Raises `BadQuery`."""
    parser = _Parser(text)
    predicate = parser.either()
    if parser.tokens:
        raise BadQuery("Invalid Value")
    return predicate


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)

    def either(self) -> Predicate:
        choices = [self.both()]
        while self._take("or"):
            choices.append(self.both())
        return lambda found: any(choice(found) for choice in choices)

    def both(self) -> Predicate:
        parts = [self.one()]
        while self._take("and"):
            parts.append(self.one())
        return lambda found: all(part(found) for part in parts)

    def one(self) -> Predicate:
        if self._take("not"):
            inner = self.one()
            return lambda found: not inner(found)
        if self._take("("):
            inner = self.either()
            self._expect(")")
            return inner
        return self._term()

    def _term(self) -> Predicate:
        kind, word = self._next()
        if kind == "text":
            self._expect("in")
            self._expect("parents")
            return lambda found: word in found.get("parents", [])
        if word in ("trashed", "sharedWithMe"):
            return self._flag(word)
        if word not in _OPERATORS:
            raise BadQuery("Invalid Value")
        return self._comparison(word)

    def _flag(self, word: str) -> Predicate:
        if word == "sharedWithMe" and not (self.tokens and self.tokens[0][1] == "="):
            return lambda found: not found.get("ownedByMe", True)
        operator, value = self._next()[1], self._next()[1]
        if operator not in ("=", "!=") or value not in ("true", "false"):
            raise BadQuery("Invalid Value")
        wanted = (value == "true") == (operator == "=")
        return lambda found: bool(found.get(word, False)) is wanted

    def _comparison(self, word: str) -> Predicate:
        operator, (kind, value) = self._next()[1], self._next()
        if operator not in _OPERATORS[word] or kind != "text":
            raise BadQuery("Invalid Value")
        if operator == "contains":
            return lambda found: value.lower() in found.get(word, "").lower()
        return lambda found: _COMPARE[operator](found.get(word, ""), value)

    def _next(self) -> tuple[str, str]:
        if not self.tokens:
            raise BadQuery("Invalid Value")
        return self.tokens.pop(0)

    def _take(self, word: str) -> bool:
        if self.tokens and self.tokens[0] == ("word", word):
            self.tokens.pop(0)
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise BadQuery("Invalid Value")


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, place = [], 0
    text = text.rstrip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise BadQuery("Invalid Value")
        quoted = found.group(1)
        is_text = quoted is not None
        tokens.append(("text", re.sub(r"\\(.)", r"\1", quoted)) if is_text else ("word", found.group(2) or found.group(3)))
        place = found.end()
    return tokens
