"""How commands speak: data on stdout, everything else on stderr; tables for people, tab separated lines for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160))} | {9: "\\t", 10: "\\n", 13: "\\r"}
SIGNS = {"ok": "green", "warn": "yellow", "fail": "red", "healthy": "green", "unhealthy": "red"}


def for_people() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def in_colour(stream: Any) -> bool:
    """Whether colour may go to `stream`: a terminal that can, and nobody said no (https://no-color.org)."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say(line: str) -> None:
    """One line for the person at the terminal, on stderr."""
    print(line, file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """An error on stderr, its first word in red where that is possible."""
    red = text.startswith("error[") and in_colour(sys.stderr)
    head, bracket, rest = text.partition("]")
    print(f"\033[1;31m{head}{bracket}\033[0m{rest}" if red else text, file=sys.stderr, flush=True)


def line(*words: Any) -> None:
    """One fact on stdout: its words separated by tabs, or by two spaces on a terminal."""
    print(("  " if for_people() else "\t").join(map(plain, words)), flush=True)


def document(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, indent=2 if for_people() else None, default=_as_json, ensure_ascii=False))


def fields(values: Mapping[str, Any]) -> None:
    """Names and values, one a line: aligned on a terminal, tab separated in a pipe. Values of None are left out on a terminal."""
    if not for_people():
        for name, value in values.items():
            print(f"{name}\t{plain(value)}")
        return
    width = max(map(len, values), default=0)
    for name, value in values.items():
        if value is not None:
            print(f"{name:<{width}}  {plain(value)}")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows under headings on a terminal; in a pipe tab separated lines without headings, never shortened."""
    if for_people():
        _rich_table(columns, rows)
        return
    for row in rows:
        print("\t".join(map(plain, row)))


def plain(value: Any) -> str:
    """A value as text that stays on its line and cannot steer a terminal; `-` for None."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, dict | list):
        value = json.dumps(value, default=_as_json, ensure_ascii=False)
    return str(value).translate(CONTROL)


def coloured(text: str, word: str) -> str:
    """`text` in the colour that belongs to `word` (ok, warn, fail), when stdout takes colour."""
    numbers = {"green": 32, "yellow": 33, "red": 31}
    if word not in SIGNS or not in_colour(sys.stdout):
        return text
    return f"\033[{numbers[SIGNS[word]]}m{text}\033[0m"


def _rich_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column.upper(), overflow="fold")
    for row in rows:
        grid.add_row(*(Text(plain(value)) for value in row))
    Console().print(grid)


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
