"""Reading a CREATE TABLE of SQLite's: its columns and constraints, each as it was written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

_TOKEN = re.compile(
    r"""\s+|--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*|.""",
    re.DOTALL,
)
_CONSTRAINTS = {"constraint", "primary", "unique", "check", "foreign"}
_CLAUSES = {"constraint", "primary", "not", "null", "unique", "check", "default", "collate", "references", "generated", "as"}


@dataclass(frozen=True)
class Declared:
    """The body of a table: columns by name in lower case, and constraints, in the words in which they were declared."""

    columns: dict[str, str]
    constraints: list[str]

    @classmethod
    def parse(cls, statement: str) -> Declared:
        """Read the statement that `sqlite_master` keeps."""
        parts = _split(_tokens(_body(statement)))
        first = {part: unquoted(next(token for token in _tokens(part) if _means(token))) for part in parts}
        is_column = {part: first[part] not in _CONSTRAINTS or part[0] in "\"`[" for part in parts}
        return cls({first[part]: part for part in parts if is_column[part]}, [part for part in parts if not is_column[part]])


def clauses(declaration: str) -> list[str]:
    """A column's clauses, without its name and type: `NOT NULL`, `REFERENCES ...` and so on, a constraint's name with it."""
    words = _words(declaration)
    starts = [place for place in range(1, len(words)) if _starts_a_clause([word.lower() for word in words], place)]
    return [" ".join(words[start:end]) for start, end in pairwise([*starts, len(words)])]


def _starts_a_clause(words: list[str], place: int) -> bool:
    """Whether the word at this place starts one: not in `CONSTRAINT name CHECK`, `NOT DEFERRABLE`, `SET NULL`, `ALWAYS AS`."""
    word, before, after = words[place], words[place - 1], words[place + 1 : place + 2]
    return (
        word in _CLAUSES
        and words[place - 2 : place - 1] != ["constraint"]
        and not (word == "not" and after == ["deferrable"])
        and not (word in ("null", "default") and before in ("set", "not"))
        and not (word == "as" and before == "always")
    )


def unquoted(word: str) -> str:
    """A name as it is meant, in lower case."""
    pairs = {'"': '"', "`": "`", "[": "]", "'": "'"}
    if word[:1] in pairs and word[-1:] == pairs[word[0]]:
        word = word[1:-1].replace(word[0] * 2, word[0])
    return word.lower()


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def _means(token: str) -> bool:
    return bool(token.strip()) and not token.startswith(("--", "/*"))


def _body(statement: str) -> str:
    tokens = _tokens(statement)
    start = tokens.index("(")
    end = len(tokens) - 1 - tokens[::-1].index(")")
    return "".join(tokens[start + 1 : end])


def _split(tokens: list[str]) -> list[str]:
    parts, depth = [""], 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if token == "," and not depth:
            parts.append("")
        elif _means(token) or not token.startswith(("--", "/*")):
            parts[-1] += token
    return [part.strip() for part in parts if part.strip()]


def _words(text: str) -> list[str]:
    """The tokens that mean something, with everything in parentheses as one."""
    words, depth = [""], 0
    for token in _tokens(text):
        if depth or token == "(":
            words[-1:] = [words[-1] + token] if depth else [words[-1], token]
        elif _means(token):
            words.append(token)
        depth += (token == "(") - (token == ")")
    return words[1:]
