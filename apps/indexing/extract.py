"""Text of a file's content: plain text by decoding, HTML, PDF and DOCX in a child process that a hostile file may break."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO

from .child import Child, ChildDied
from .decoding import decoded
from .kinds import Damaged, Kind, NoText, kind_of
from .source import ShouldStop

VERSION = 1
"""Raised when the same content may give better text: files of an older version are read again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may take. Bytes, characters, seconds; `documents_per_child` after which a child is replaced."""

    largest_file: int = 100_000_000
    most_characters: int = 5_000_000
    memory: int = 1 << 30
    cpu: float = 30.0
    patience: float = 60.0
    documents_per_child: int = 50


@dataclass(frozen=True, slots=True)
class Extracted:
    """The text of a file; `truncated` if there was more of it; a `remark` for people, or None."""

    text: str
    truncated: bool = False
    remark: str | None = None


class Extractor:
    """Extracts text from one file at a time; a context manager, since a child may have to be ended."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._child: Child | None = None

    def __enter__(self) -> Extractor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._replace()

    def extract(self, content: BinaryIO, name: str, mime_type: str, should_stop: ShouldStop) -> Extracted:
        """The text of `content`, a real file on disk. Raises `NoText` with the reason, and `Stopped`."""
        kind = kind_of(content, name, mime_type)
        if kind is Kind.TEXT:
            return Extracted(*decoded(content, self.limits.most_characters))
        answer = self._asked(kind, content, should_stop)
        if "no_text" in answer:
            raise (Damaged if answer["damaged"] else NoText)(answer["no_text"])
        return Extracted(answer["text"], answer["truncated"], answer["remark"])

    def _asked(self, kind: Kind, content: BinaryIO, should_stop: ShouldStop) -> dict[str, Any]:
        """The child's answer. One that dies over a document that was not its first may owe that to an earlier one."""
        fresh = self._child is None
        try:
            return self._ask(kind, content, should_stop)
        except ChildDied as error:
            if fresh:
                raise Damaged(str(error)) from None
        try:
            return self._ask(kind, content, should_stop)
        except ChildDied as error:
            raise Damaged(str(error)) from None

    def _ask(self, kind: Kind, content: BinaryIO, should_stop: ShouldStop) -> dict[str, Any]:
        limits = self.limits
        child = self._child = self._child or Child()
        request = {"kind": kind, "most": limits.most_characters, "memory": limits.memory, "cpu": limits.cpu}
        answered = False
        try:
            content.flush()
            answer = child.ask(request, content, limits.patience, 12 * limits.most_characters + 4096, should_stop)
            answered = True
        finally:
            if not answered or child.answered >= limits.documents_per_child:
                self._replace()
        return answer

    def _replace(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()
