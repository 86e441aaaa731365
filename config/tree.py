"""The configuration as a tree in which every value knows where it was written.

Each layer (file, environment, command line) is such a tree; `overlay` lays one over the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from .problems import Place

Path: TypeAlias = tuple[str | int, ...]
Scalar: TypeAlias = str | int | float | bool | None


class Kind(StrEnum):
    """The four layers a value can come from, the weakest first."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value came from. `place` is None for defaults; as text: `jobqueue.yaml:4`, `environment NAME`, ..."""

    kind: Kind
    place: Place | None = None

    def __str__(self) -> str:
        if self.place is None:
            return self.kind.value
        return f"{self.place.name}:{self.place.line}" if self.place.line else self.place.name


DEFAULT = Source(Kind.DEFAULT)
COMMAND_LINE = Source(Kind.COMMAND_LINE, Place(Kind.COMMAND_LINE.value))


@dataclass(slots=True)
class Leaf:
    """A scalar; `written` is its text before interpolation."""

    value: Scalar
    source: Source
    written: str = ""


@dataclass(slots=True)
class Branch:
    """A mapping; `keys` holds where each key stands."""

    source: Source
    entries: dict[str, Tree] = field(default_factory=dict)
    keys: dict[str, Source] = field(default_factory=dict)

    def put(self, key: str, key_source: Source, value: Tree) -> None:
        """Set one entry."""
        self.entries[key] = value
        self.keys[key] = key_source


@dataclass(slots=True)
class Row:
    """A list."""

    source: Source
    items: list[Tree] = field(default_factory=list)


Tree: TypeAlias = Leaf | Branch | Row


def plain(tree: Tree) -> Any:
    """The tree as dicts, tuples and scalars, without the places."""
    match tree:
        case Leaf():
            return tree.value
        case Row():
            return tuple(plain(item) for item in tree.items)
        case Branch():
            return {key: plain(value) for key, value in tree.entries.items()}


def overlay(lower: Tree, upper: Tree) -> Tree:
    """A tree in which `upper` wins; mappings are merged key by key, lists and scalars replaced whole."""
    if not isinstance(upper, Branch) or not isinstance(lower, Branch):
        return upper
    merged = Branch(upper.source, dict(lower.entries), dict(lower.keys))
    for key, value in upper.entries.items():
        below = merged.entries.get(key)
        merged.put(key, upper.keys[key], overlay(below, value) if below else value)
    return merged


def from_python(value: object, source: Source) -> Tree:
    """A tree of a plain value, all of it from one source. Anything that is not a mapping or list becomes a leaf."""
    if isinstance(value, Mapping):
        branch = Branch(source)
        for key, item in value.items():
            branch.put(str(key), source, from_python(item, source))
        return branch
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return Row(source, [from_python(item, source) for item in value])
    return Leaf(value if isinstance(value, str | int | float | bool | None) else str(value), source, str(value))


def at(tree: Tree, path: Path) -> tuple[Tree, int]:
    """The deepest node on the way along `path`, and how many steps of it were taken."""
    for taken, step in enumerate(path):
        below = _below(tree, step)
        if below is None:
            return tree, taken
        tree = below
    return tree, len(path)


def _below(tree: Tree, step: str | int) -> Tree | None:
    if isinstance(tree, Branch):
        return tree.entries.get(str(step))
    if isinstance(tree, Row) and isinstance(step, int) and step < len(tree.items):
        return tree.items[step]
    return None


def key_source(tree: Tree, path: Path) -> Source:
    """Where the last key of `path` is written, or the item or the nearest thing above it."""
    parent, taken = at(tree, path[:-1])
    if isinstance(parent, Branch) and taken < len(path) and str(path[taken]) in parent.keys:
        return parent.keys[str(path[taken])]
    return at(parent, path[taken:])[0].source


def leaves(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Leaf]]:
    """Every scalar of the tree with its path, in the order written."""
    match tree:
        case Leaf():
            yield path, tree
        case Row():
            for index, item in enumerate(tree.items):
                yield from leaves(item, (*path, index))
        case Branch():
            for key, value in tree.entries.items():
                yield from leaves(value, (*path, key))


def dotted(path: Path) -> str:
    """A path as people write it: `programs[0].folder`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")
