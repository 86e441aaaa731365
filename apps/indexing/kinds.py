"""Which kind of content a file holds: by its bytes, and by its name only where bytes cannot tell."""

from __future__ import annotations

import codecs
import zipfile
from enum import StrEnum
from typing import BinaryIO

HEAD = 8192
"""Bytes that are looked at."""


class Kind(StrEnum):
    """The kinds of content that text is taken from."""

    TEXT = "text"
    HTML = "html"
    PDF = "pdf"
    DOCX = "docx"


class NoText(Exception):
    """No text is taken from this content; the message says why. The same content will have none next time."""


class Damaged(NoText):
    """The content claims to hold text, and is broken or built to do harm."""


_NEVER_TEXT = ("image/", "audio/", "video/", "font/")
_ARCHIVES = frozenset({
    "application/zip", "application/x-tar", "application/gzip", "application/x-gzip", "application/x-7z-compressed",
    "application/vnd.rar", "application/x-rar-compressed", "application/x-bzip2", "application/x-xz",
    "application/java-archive", "application/vnd.android.package-archive",
})
_MARKED_AS_TEXT = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_MAGIC = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or encrypted Office file"),
    (b"\x89PNG\r\n", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"\x1f\x8b", "a compressed file"),
    (b"BZh", "a compressed file"),
    (b"\xfd7zXZ\0", "a compressed file"),
    (b"7z\xbc\xaf\x27\x1c", "an archive"),
    (b"Rar!\x1a\x07", "an archive"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\0", "a database"),
)


def not_worth_reading(mime_type: str) -> str | None:
    """Why a file that claims to be of this media type need not be fetched; None if it must be looked at."""
    if mime_type.startswith(_NEVER_TEXT) and mime_type != "image/svg+xml":
        return f"{mime_type} holds no text"
    return f"{mime_type}: archives are not opened" if mime_type in _ARCHIVES else None


def kind_of(content: BinaryIO, name: str, mime_type: str) -> Kind:
    """The kind of this content. Raises `NoText` for every other kind."""
    content.seek(0)
    head = content.read(HEAD)
    if b"%PDF-" in head[:1024]:
        return Kind.PDF
    if head.startswith(b"PK\x03\x04"):
        return _inside_zip(content)
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise NoText(f"{what} holds no text")
    if b"\0" in head and not head.startswith(_MARKED_AS_TEXT):
        raise NoText("binary content of an unknown kind")
    return Kind.HTML if _is_html(head, name, mime_type) else Kind.TEXT


def _inside_zip(content: BinaryIO) -> Kind:
    content.seek(0)
    try:
        with zipfile.ZipFile(content) as archive:
            if "word/document.xml" in archive.NameToInfo:
                return Kind.DOCX
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError, UnicodeError):
        raise Damaged("a damaged ZIP archive, or a damaged document of a kind that is one") from None
    raise NoText("archives are not opened, nor are spreadsheets and presentations")


def _is_html(head: bytes, name: str, mime_type: str) -> bool:
    if mime_type in ("text/html", "application/xhtml+xml") or name.lower().endswith((".html", ".htm", ".xhtml")):
        return True
    start = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")[:15].lower()
    return start.startswith((b"<!doctype html", b"<html"))
