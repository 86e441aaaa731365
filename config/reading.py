"""From the bytes of a file to a tree with places: limits first, then YAML, then `${...}`.

The YAML is that of version 1.2's core schema: `on`, `no`, `0600`, `12:30` and dates are text, not booleans or numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from yaml import MarkedYAMLError, YAMLError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

from .interpolation import CannotInterpolate, interpolate
from .nodes import KNOWN_TAGS, TAG, UNTAGGED, Loader, TooMuch, scalar
from .problems import ConfigError, Place, Problem, did_you_mean
from .tree import Branch, Kind, Leaf, Row, Source, Tree

LARGEST = 1_048_576
ALIASED_AT_MOST = 10_000
CRONS_AT_MOST = 10

_LINE = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_CRON = re.compile(r"\*(?:/[0-9]+)?(?: +(?:[0-9A-Za-z*/?-]|,(?=[0-9]))+){1,5}")
_ADVICE = {
    "mapping values are not allowed": "quote a value that contains a colon; or check the indentation",
    "'\\t'": "indent with spaces, not with tabs",
    "could not find expected ':'": "write key: value, with a space after the colon",
    "expected alphabetic or numeric": "quote a value that starts with * or &",
    "expected <block end>": "let the keys of one mapping begin in the same column",
    "unexpected end of stream": "close the quote",
    "expected ',' or": "close the bracket, or put a comma between the entries",
    "but found another document": "a configuration is one document; remove the line ---",
    "unknown escape": "write a text with backslashes in 'single quotes'",
    "cannot start any token": "quote a value that starts with this character",
}


def read_text(path: FilePath) -> str:
    """The file's text. Raises `ConfigError` for what is missing, unreadable, larger than 1 MiB or not UTF-8."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError([_cannot_read(path, error)]) from None
    if len(data) > LARGEST:
        hint = "a configuration is a few kilobytes; is this the right file?"
        raise ConfigError([Problem(Place(str(path)), "CFG-TOO-LARGE", "the file is larger than 1 MiB", hint)])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = _LINE.split(data[: error.start].decode("utf-8-sig", "replace"))
        place = Place(str(path), len(before), len(before[-1]) + 1, before[-1])
        message = f"byte 0x{data[error.start]:02x} is not UTF-8 text"
        raise ConfigError([Problem(place, "CFG-ENCODING", message, "save the file as UTF-8")]) from None


def _cannot_read(path: FilePath, error: OSError) -> Problem:
    if isinstance(error, FileNotFoundError):
        hint = "name another file with -c, or write one with: supervisor init"
        return Problem(None, "CFG-NOT-FOUND", f"{path} does not exist", hint)
    message, hint = f"cannot be read: {error.strerror}", "check the path and its permissions"
    return Problem(Place(str(path)), "CFG-UNREADABLE", message, hint)


def parse(text: str, name: str, environment: Mapping[str, str]) -> tuple[Branch, list[Problem]]:
    """The tree of a file's text, and what is wrong with it; a text that is not YAML at all gives an empty tree.

    `name` is what places call the file. Top-level keys that begin with `x-` are left out: they are there for anchors.
    """
    reader = _FileReader(text, name, environment)
    root = reader.compose()
    if root is None or reader.is_empty(root):
        return Branch(reader.source_of_line(1)), reader.problems
    if not isinstance(root, MappingNode):
        reader.refuse(root, "CFG-TYPE", "the file must be a mapping of settings", "begin with a line like workers: 2")
        return Branch(reader.source(root)), reader.problems
    root.value = [(key, value) for key, value in root.value if not str(key.value).startswith("x-")]
    try:
        tree = reader.convert(root)
    except TooMuch as error:
        reader.refuse(error.node, "CFG-TOO-LARGE", str(error), error.hint)
        return Branch(reader.source(root)), reader.problems
    assert isinstance(tree, Branch)
    return tree, reader.problems


def parse_value(text: str, source: Source) -> Tree:
    """The tree of a value given outside of the file: a scalar, or a flow list or mapping. Raises `ConfigError`."""
    if not text.startswith(("[", "{")):
        return Leaf(scalar(text), source, text)
    assert source.place is not None
    reader = _FileReader(text, source.place.name, {}, fixed=source)
    root = reader.compose()
    try:
        tree = reader.convert(root) if root is not None else Leaf(None, source)
    except TooMuch as error:
        raise ConfigError([Problem(source.place, "CFG-TOO-LARGE", str(error), error.hint)]) from None
    if reader.problems:
        raise ConfigError([Problem(source.place, bad.code, bad.message, bad.hint) for bad in reader.problems])
    return tree


class _FileReader:
    """One reading of one text: its lines, its problems, and the aliases seen so far."""

    def __init__(self, text: str, name: str, environment: Mapping[str, str], fixed: Source | None = None) -> None:
        self.text = text
        self.name = name
        self.environment = environment
        self.fixed = fixed
        self.lines = _LINE.split(text)
        self.problems: list[Problem] = []
        self.seen: set[int] = set()
        self.open: set[int] = set()
        self.leaves: dict[int, Leaf] = {}
        self.aliased = 0

    def compose(self) -> Node | None:
        """The node tree, or None where the text is empty or not YAML; the reason is then among the problems."""
        text = self.text
        for _ in range(CRONS_AT_MOST):
            repaired = self._compose_once(text)
            if not isinstance(repaired, str):
                return repaired
            text = repaired
        return None

    def _compose_once(self, text: str) -> Node | str | None:
        try:
            loader = Loader(text)
        except ReaderError as error:
            self._not_allowed(error)
            return None
        try:
            return loader.get_single_node()  # type: ignore[no-any-return, unused-ignore]
        except MarkedYAMLError as error:
            repaired = self._repaired(text, error)
            if repaired is None:
                self._not_yaml(error)
            return repaired
        except TooMuch as error:
            self.refuse(error.node, "CFG-TOO-LARGE", str(error), error.hint)
        except (YAMLError, ValueError, OverflowError, RecursionError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._add(loader.get_mark(), "CFG-SYNTAX", f"not YAML: {reason}", "check the text in front of this place")
        return None

    def _repaired(self, text: str, error: MarkedYAMLError) -> str | None:
        """The text with an unquoted cron expression replaced by a quoted text of the same length, to go on reading."""
        if error.context != "while scanning an alias" or error.context_mark is None:
            return None
        begin = error.context_mark.index
        cron = _CRON.match(text, begin)
        if cron is None or cron.end() - begin < 2:
            return None
        self._add(
            error.context_mark, "CFG-CRON-QUOTE",
            f'a cron expression that starts with * must be quoted: "{cron[0]}"',
        )
        return f'{text[:begin]}"{" " * (cron.end() - begin - 2)}"{text[cron.end() :]}'

    def _not_yaml(self, error: MarkedYAMLError) -> None:
        problem = error.problem or "not YAML"
        mark = error.problem_mark or error.context_mark
        alias = re.fullmatch(r"found undefined alias '(.*)'", problem)
        if alias:
            hint = did_you_mean(alias[1], re.findall(r"&([\w-]+)", self.text)) or "quote it if it is not an alias"
            self._add(mark, "CFG-ALIAS", f"no anchor &{alias[1]} stands above this alias", hint)
        else:
            opened = error.context_mark
            since = f" ({error.context}, line {opened.line + 1})" if error.context and opened else ""
            advice = next((advice for part, advice in _ADVICE.items() if part in problem), "")
            if mark and self.text[max(0, mark.index - 1) : mark.index + 1] == "${":
                advice = 'inside { } and [ ], quote a value with a reference: "${NAME}"'
            self._add(mark, "CFG-SYNTAX", f"not YAML: {problem}{since}", advice)

    def _not_allowed(self, error: ReaderError) -> None:
        before = _LINE.split(self.text[: error.position])
        place = Place(self.name, len(before), len(before[-1]) + 1, self.lines[len(before) - 1])
        message = f"the character U+{ord(self.text[error.position]):04X} is not allowed in YAML"
        self.problems.append(Problem(place, "CFG-ENCODING", message, 'remove it, or write it as an escape in "quotes"'))

    def convert(self, node: Node) -> Tree:
        """The node as a tree. Raises `TooMuch` when aliases expand beyond reason."""
        if node.tag not in KNOWN_TAGS:
            shown = node.tag.replace(TAG, "!!")[:60]
            return self._broken(node, "CFG-TAG", f"the tag {shown} is not known here", "write the value without a tag")
        if isinstance(node, ScalarNode):
            if id(node) not in self.leaves:
                self.leaves[id(node)] = self._leaf(node)
            return self.leaves[id(node)]
        if id(node) in self.open:
            return self._broken(node, "CFG-ALIAS", "an alias inside its own anchor", "write the value out")
        self._count(node)
        self.open.add(id(node))
        tree = self._branch(node) if isinstance(node, MappingNode) else self._row(node)
        self.open.discard(id(node))
        return tree

    def _count(self, node: Node) -> None:
        if id(node) in self.seen:
            self.aliased += len(node.value) + 1
        self.seen.add(id(node))
        if self.aliased > ALIASED_AT_MOST:
            message = f"aliases expand to more than {ALIASED_AT_MOST:,} values"
            raise TooMuch(node, message, "repeat less; a few aliases of aliases multiply quickly")

    def _row(self, node: Node) -> Row:
        assert isinstance(node, SequenceNode)
        return Row(self.source(node), [self.convert(item) for item in node.value])

    def _branch(self, node: MappingNode) -> Branch:
        branch = Branch(self.source(node))
        merged: list[Node] = []
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.refuse(key, "CFG-TYPE", "a key must be a word", "quote a key that starts with { or [")
            elif key.value == "<<" and not key.style:
                merged += value.value if isinstance(value, SequenceNode) else [value]
            elif key.value in branch.entries:
                first = branch.keys[key.value].place
                line = f"; it stands on line {first.line} already" if first and first.line else ""
                self.refuse(key, "CFG-DUPLICATE-KEY", f"duplicate key '{key.value[:80]}'{line}", "keep one of them")
            else:
                branch.put(key.value, self.source(key), self.convert(value))
        for other in merged:
            self._merge(branch, other)
        return branch

    def _merge(self, branch: Branch, node: Node) -> None:
        below = self.convert(node)
        if not isinstance(below, Branch):
            self.refuse(node, "CFG-TYPE", "<< merges mappings only", "name an anchor of a mapping: <<: *name")
            return
        for key, value in below.entries.items():
            if key not in branch.entries:
                branch.put(key, below.keys[key], value)

    def _leaf(self, node: ScalarNode) -> Leaf:
        written: str = node.value
        try:
            text = interpolate(written, self.environment)
            text.encode()
        except CannotInterpolate as error:
            return self._broken(node, "CFG-INTERPOLATION", str(error), error.hint, error.offset)
        except UnicodeEncodeError:
            message, hint = "half of a surrogate pair is not a character", "remove the \\ud... escape"
            return self._broken(node, "CFG-ENCODING", message, hint)
        value = scalar(text) if node.tag == UNTAGGED else text
        return Leaf(value, self.source(node), written)

    def _broken(self, node: Node, code: str, message: str, hint: str, offset: int = 0) -> Leaf:
        quoted = 1 if isinstance(node, ScalarNode) and node.style in ("'", '"') else 0
        one_line = node.start_mark.line == node.end_mark.line if node.end_mark else False
        self.refuse(node, code, message, hint, offset + quoted if offset and one_line else 0)
        return Leaf(None, self.source(node))

    def is_empty(self, node: Node) -> bool:
        """Whether the document holds nothing but comments."""
        return isinstance(node, ScalarNode) and not node.value and not node.style

    def refuse(self, node: Node, code: str, message: str, hint: str, offset: int = 0) -> None:
        """Note a problem at this node, or `offset` letters into it."""
        self._add(node.start_mark, code, message, hint, offset)

    def _add(self, mark: Any, code: str, message: str, hint: str = "", offset: int = 0) -> None:
        self.problems.append(Problem(self._place(mark.line, mark.column + offset), code, message, hint))

    def _place(self, line: int, column: int) -> Place:
        return Place(self.name, line + 1, column + 1, self.lines[line] if line < len(self.lines) else "")

    def source(self, node: Node) -> Source:
        """Where this node is written."""
        return self.fixed or Source(Kind.FILE, self._place(node.start_mark.line, node.start_mark.column))

    def source_of_line(self, line: int) -> Source:
        """The beginning of a line, counted from 1."""
        return self.fixed or Source(Kind.FILE, self._place(line - 1, 0))
