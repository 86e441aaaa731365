"""Text of an HTML page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import BinaryIO

from .decoding import decoded

_UNSEEN = frozenset({"script", "style", "template", "noscript", "svg", "math", "object", "iframe"})
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "br", "caption", "dd", "details", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "li", "main", "nav",
    "ol", "option", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "title", "tr", "ul",
})
_CHARSET = re.compile(rb"""<meta[^>]+charset\s*=\s*["']?\s*([a-zA-Z0-9_:.-]+)""", re.IGNORECASE)


def text_of_html(content: BinaryIO, most: int) -> tuple[str, bool]:
    """Up to `most` characters of what a reader of the page sees, blocks on lines of their own; and whether there was more."""
    content.seek(0)
    charset = _CHARSET.search(content.read(4096))
    markup, cut = decoded(content, 4 * most, charset.group(1).decode("ascii") if charset else None)
    page = _Page()
    page.feed(markup)
    page.close()
    lines = (" ".join(line.split()) for line in "".join(page.parts).split("\n"))
    text = "\n".join(line for line in lines if line)
    return text[:most], cut or len(text) > most


class _Page(HTMLParser):
    """Collects the text outside of elements that are not shown."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unseen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen.append(tag)
        elif tag in _BLOCKS:
            self.parts.append("\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._unseen:
            del self._unseen[self._unseen.index(tag) :]
        elif tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(data.replace("\n", " "))
