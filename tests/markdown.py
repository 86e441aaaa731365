"""What tests need to know of a Markdown file: its code blocks, its links, its headings, the commands it names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.support import REPOSITORY

PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")], key=lambda page: str(page.relative_to(REPOSITORY))
)
"""Every page that people read."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_COMMAND = re.compile(r"(?:^|[ /])supervisor ((?:[a-z-]|\[).*)$")
_END = re.compile(r"\s+(?:&&|\||#|->|  )|  ")


class Block(NamedTuple):
    """One fenced block of code; `language` is empty when none is named."""

    language: str
    text: str


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in these languages (all when none is given), in order."""
    found = [Block(*match.groups()) for match in _FENCE.finditer(page.read_text(encoding="utf-8"))]
    return [block.text for block in found if not languages or block.language in languages]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """The targets of a page's links."""
    return _LINK.findall(_SPAN.sub("", prose(page)))


def anchors(page: Path) -> set[str]:
    """What `#...` may name in a page: its headings as GitHub spells them."""
    titles = (re.sub(r"[`*]", "", title) for title in _HEADING.findall(prose(page)))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(page: Path) -> list[str]:
    """What stands behind the word `supervisor` wherever a page shows a command, in a block or in a line of text."""
    shown = [line for text in blocks(page) for line in text.splitlines()] + _SPAN.findall(prose(page))
    found = (_COMMAND.search(line) for line in shown)
    return [_END.split(match.group(1))[0] for match in found if match]
