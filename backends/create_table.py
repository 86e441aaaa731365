"""Reading a CREATE TABLE of SQLite's: its columns and constraints, each as it was written."""

from __future__ import annotations

import re
from dataclasses import dataclass

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
    found: list[str] = []
    named = False
    for token in _grouped(_tokens(declaration))[1:]:
        word = token.lower()
        deferral = word == "not" and bool(found) and found[-1].lower().startswith("references")
        action = word in ("null", "default") and bool(found) and bool(re.search(r"(?i)\bset\s*$", found[-1]))
        if word in _CLAUSES and not named and not deferral and not action and not _continues(found, word):
            found.append(token)
        elif found:
            found[-1] += token
        named = word == "constraint" or (named and not (_means(token) and word in _CLAUSES))
    return [clause.strip() for clause in found]


def _continues(found: list[str], word: str) -> bool:
    """`NOT NULL` and `GENERATED ALWAYS AS` are one clause each."""
    last = found[-1].strip().lower() if found else ""
    return (word == "null" and last == "not") or (word == "as" and last.startswith("generated") and " as" not in last)


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


def _grouped(tokens: list[str]) -> list[str]:
    """The same, with everything in parentheses as one token."""
    grouped, depth = [""], 0
    for token in tokens:
        if depth or token == "(":
            grouped[-1] = grouped[-1] + token if depth else grouped[-1]
            grouped += [] if depth else [token]
        elif _means(token) or token.isspace():
            grouped.append(token)
        depth += (token == "(") - (token == ")")
    return [token for token in grouped if token]
