"""Text of a PDF file."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from .kinds import Damaged, NoText

if TYPE_CHECKING:
    from pypdf import PdfReader


def text_of_pdf(content: BinaryIO, most: int) -> tuple[str, bool, str | None]:
    """Up to `most` characters of all pages, whether there was more, and a remark for people. Raises `NoText`.

    A page that cannot be read is left out, and the remark says how many there were.
    """
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(content, strict=False)
        _unlock(reader)
        number_of_pages = len(reader.pages)
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OSError) as error:
        raise Damaged(f"a damaged PDF: {_words(error)}") from None
    texts: list[str] = []
    length = bad = 0
    for number in range(number_of_pages):
        try:
            text = reader.pages[number].extract_text()
        except Exception:
            bad += 1
            continue
        texts.append(text)
        length += len(text) + 1
        if length > most:
            break
    if bad == number_of_pages and bad:
        raise Damaged("a damaged PDF: none of its pages can be read")
    whole = "\n".join(texts)
    return whole[:most], len(whole) > most, _remark(whole, bad, number_of_pages)


def _unlock(reader: PdfReader) -> None:
    """Open what is encrypted without a password, as most protected files are."""
    from pypdf.errors import DependencyError, PyPdfError

    if not reader.is_encrypted:
        return
    try:
        opened = bool(reader.decrypt(""))
    except (PyPdfError, DependencyError, NotImplementedError, ValueError, KeyError):
        opened = False
    if not opened:
        raise NoText("an encrypted PDF")


def _remark(text: str, bad: int, number_of_pages: int) -> str | None:
    if bad:
        return f"{bad} of {number_of_pages} pages could not be read"
    return None if text.strip() else "it holds no text; its pages may be pictures"


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]
