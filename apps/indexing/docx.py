"""Text of a DOCX file, read as the ZIP archive of XML parts that it is, under limits that a bomb cannot pass.

Entities and document types are refused outright, so neither expansion nor external references exist here.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import BinaryIO
from xml.parsers import expat

from .kinds import Damaged

MOST_MEMBERS = 10_000
MOST_BYTES = 256 * 1024 * 1024
"""Bytes of XML read, unpacked, in all parts together."""

BLOCK = 1 << 16
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
STRICT_WORD = "http://purl.oclc.org/ooxml/wordprocessingml/main"
FALLBACK = "http://schemas.openxmlformats.org/markup-compatibility/2006 Fallback"
_PARTS = re.compile(r"word/(document|header\d*|footer\d*|footnotes|endnotes)\.xml")
_BREAKS = {"p": "\n", "br": "\n", "cr": "\n", "tab": "\t", "noBreakHyphen": "-"}


def text_of_docx(content: BinaryIO, most: int) -> tuple[str, bool]:
    """Up to `most` characters of the body, then headers, footers and notes; and whether there was more. Raises `Damaged`."""
    collected = _Collected(most)
    try:
        with zipfile.ZipFile(content) as archive:
            for part in _parts(archive):
                _read(archive, part, collected)
    except Enough:
        pass
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, expat.ExpatError, ValueError) as error:
        raise Damaged(f"a damaged document: {error}") from None
    text = collected.text().strip()
    return text[:most], collected.full


class Enough(Exception):
    """The limit of characters is reached."""


def _parts(archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise Damaged(f"a document of {len(members):,} parts; more than {MOST_MEMBERS:,} are not opened")
    named = {member.filename: member for member in members if _PARTS.fullmatch(member.filename)}
    yield from sorted(named.values(), key=lambda member: (member.filename != "word/document.xml", member.filename))


class _Collected:
    """The text so far, over all parts."""

    def __init__(self, most: int) -> None:
        self._pieces: list[str] = []
        self._left = most
        self.bytes_left = MOST_BYTES
        self.full = False

    def add(self, piece: str) -> None:
        self._pieces.append(piece)
        self._left -= len(piece)
        if self._left < 0:
            self.full = True
            raise Enough

    def text(self) -> str:
        return "".join(self._pieces)


def _read(archive: zipfile.ZipFile, part: zipfile.ZipInfo, collected: _Collected) -> None:
    reader = _PartReader(collected)
    with archive.open(part) as stream:
        while block := stream.read(BLOCK):
            collected.bytes_left -= len(block)
            if collected.bytes_left < 0:
                raise Damaged(f"it unpacks to more than {MOST_BYTES:,} bytes")
            reader.feed(block)
    reader.feed(b"", last=True)


class _PartReader:
    """Collects the text of one XML part."""

    def __init__(self, collected: _Collected) -> None:
        self._collected = collected
        self._in_text = 0
        self._in_fallback = 0
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        self._parser = parser

    def feed(self, block: bytes, last: bool = False) -> None:
        self._parser.Parse(block, last)

    def _start(self, name: str, attributes: object) -> None:
        namespace, _, word = name.rpartition(" ")
        if name == FALLBACK:
            self._in_fallback += 1
        elif namespace in (WORD, STRICT_WORD) and word == "t":
            self._in_text += 1

    def _end(self, name: str) -> None:
        namespace, _, word = name.rpartition(" ")
        if name == FALLBACK:
            self._in_fallback -= 1
        elif namespace in (WORD, STRICT_WORD):
            if word == "t":
                self._in_text -= 1
            elif word in _BREAKS and not self._in_fallback:
                self._collected.add(_BREAKS[word])

    def _data(self, text: str) -> None:
        if self._in_text and not self._in_fallback:
            self._collected.add(text)


def _refuse(*declaration: object) -> None:
    raise Damaged("a document type declaration, which no honest document of this kind has")
