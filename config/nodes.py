"""YAML up to its node tree, within limits, and what an unquoted scalar means in version 1.2's core schema."""

from __future__ import annotations

import re
from typing import Any

from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from .tree import Scalar

DEEPEST = 32
NODES_AT_MOST = 50_000

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,4})?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_WORDS: dict[str, Scalar] = dict.fromkeys(("null", "Null", "NULL", "~", ""))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
TAG = "tag:yaml.org,2002:"
UNTAGGED = "untagged"
KNOWN_TAGS = {UNTAGGED, TAG + "str", TAG + "map", TAG + "seq"}


def scalar(text: str) -> Scalar:
    """What an unquoted scalar means in YAML 1.2's core schema. Whole numbers of more than 18 digits stay text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) and not re.match(r"[-+]?0[0-9]", text) and not re.fullmatch(r"[-+]?[0-9]+", text):
        return float(text.replace(".i", "i").replace(".I", "I").replace(".n", "n").replace(".N", "N"))
    return text


class TooMuch(Exception):
    """The text is YAML, but more of it than a configuration can be; `node` is where it became too much."""

    def __init__(self, node: Node, message: str, hint: str) -> None:
        super().__init__(message)
        self.node = node
        self.hint = hint


class Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML up to the node tree, with a limit on depth. Plain scalars keep their text; `scalar` gives it a meaning."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self.depth = 0
        self.nodes = 0

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        if kind is ScalarNode:
            return UNTAGGED if implicit[0] else TAG + "str"
        return TAG + ("map" if kind is MappingNode else "seq")

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.depth += 1
        self.nodes += 1
        here = ScalarNode("", "", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        if self.depth > DEEPEST:
            hint = "a configuration needs four; look for unclosed brackets"
            raise TooMuch(here, f"nested deeper than {DEEPEST} levels", hint)
        if self.nodes > NODES_AT_MOST:
            raise TooMuch(here, f"more than {NODES_AT_MOST:,} values", "is this the right file?")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node
