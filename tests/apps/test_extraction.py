"""Text of single files, and what hostile ones can do to us."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import psutil
import pytest

from apps.indexing import docx as docx_reader
from apps.indexing.child import Child
from apps.indexing.decoding import decoded
from apps.indexing.extract import Extracted, Extractor, Limits
from apps.indexing.kinds import Damaged, NoText
from apps.indexing.source import Stopped
from tests.apps.documents import WORD, docx, pdf
from tests.support import eventually


@pytest.fixture
def extractor() -> Iterator[Extractor]:
    with Extractor(Limits(most_characters=1000)) as extractor:
        yield extractor


def extract(extractor: Extractor, content: bytes, name: str = "file", mime_type: str = "application/octet-stream") -> Extracted:
    with TemporaryFile() as file:
        file.write(content)
        return extractor.extract(file, name, mime_type, lambda: False)


def test_the_bytes_decide_and_not_the_name(extractor: Extractor) -> None:
    assert extract(extractor, pdf("In a PDF"), "report.txt", "text/plain").text == "In a PDF"
    assert extract(extractor, b"plain", "plain.pdf", "application/pdf").text == "plain"
    assert extract(extractor, b"<!doctype html><p>page", "page", "text/plain").text == "page"


def test_text_is_cut_at_the_limit_and_says_so(extractor: Extractor) -> None:
    for content in (b"x" * 2000, b"<html>" + b"x" * 2000, docx("x" * 2000), pdf("x" * 600, "x" * 600)):
        found = extract(extractor, content)
        assert (len(found.text), found.truncated) == (1000, True)


def test_a_character_cut_in_two_by_the_limit_is_no_fault() -> None:
    assert decoded(io.BytesIO("ä".encode() * 100), 10) == ("ä" * 10, True)
    assert decoded(io.BytesIO("😀".encode() * 100), 99) == ("😀" * 99, True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_the_encoding_is_recognised(encoding: str) -> None:
    assert decoded(io.BytesIO("Grüße".encode(encoding)), 100) == ("Grüße", False)


def test_a_page_says_its_own_charset(extractor: Extractor) -> None:
    page = '<html><meta charset="iso-8859-5"><p>Привет'.encode("iso-8859-5")
    assert extract(extractor, page, "page.html").text == "Привет"


def test_a_document_with_entities_or_a_bomb_is_refused(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    laughs = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    with pytest.raises(Damaged, match="document type declaration"):
        extract(extractor, docx("&b;", prologue=laughs))
    monkeypatch.setattr(docx_reader, "MOST_BYTES", 10_000)
    bomb = docx(footnotes=b"<a>" + b" " * 20_000 + b"</a>")
    with pytest.raises(Damaged, match="unpacks to more"):
        docx_reader.text_of_docx(io.BytesIO(bomb), 1000)


def test_deleted_text_and_fallbacks_are_left_out(extractor: Extractor) -> None:
    written = io.BytesIO()
    other = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    body = (
        "<w:p><w:t>kept</w:t><w:delText>deleted</w:delText><mc:AlternateContent><mc:Choice><w:t> once</w:t></mc:Choice>"
        "<mc:Fallback><w:t> twice</w:t></mc:Fallback></mc:AlternateContent></w:p>"
    )
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("word/document.xml", f"<w:document {WORD} {other}><w:body>{body}</w:body></w:document>")
    assert extract(extractor, written.getvalue()).text == "kept once"


def test_a_pdf_that_opens_without_a_password_is_read(extractor: Extractor) -> None:
    assert extract(extractor, pdf("protected", password="")).text == "protected"
    with pytest.raises(NoText, match="encrypted"):
        extract(extractor, pdf("secret", password="secret"))


def test_a_file_that_takes_too_long_is_killed_and_the_next_one_is_read(extractor: Extractor) -> None:
    extractor.limits = replace(extractor.limits, patience=0.0)
    with pytest.raises(Damaged, match="takes too long"):
        extract(extractor, pdf("slow"))
    extractor.limits = replace(extractor.limits, patience=60.0)
    assert extract(extractor, pdf("next")).text == "next"


def test_a_file_that_takes_too_much_memory_is_a_bad_file(extractor: Extractor) -> None:
    extractor.limits = replace(extractor.limits, memory=100_000_000, most_characters=10_000_000)
    with pytest.raises(Damaged, match="more than 100,000,000 bytes of memory"):
        extract(extractor, b"<html>" + b"x" * 38_000_000)


def test_a_child_that_dies_between_two_documents_is_replaced(extractor: Extractor) -> None:
    assert extract(extractor, pdf("one")).text == "one"
    assert extractor._child is not None
    os.kill(extractor._child.pid, signal.SIGKILL)
    assert extract(extractor, pdf("two")).text == "two"


def test_a_child_is_replaced_after_its_share_of_documents(extractor: Extractor) -> None:
    extractor.limits = replace(extractor.limits, documents_per_child=2)
    for _ in range(2):
        extract(extractor, b"<html>x")
    assert extractor._child is None


def test_a_word_to_stop_is_heard_while_the_child_works(extractor: Extractor) -> None:
    with TemporaryFile() as file:
        file.write(pdf("x"))
        with pytest.raises(Stopped):
            extractor.extract(file, "x", "application/pdf", lambda: True)


def test_the_child_knows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIVE_TOKEN", "secret")
    child = Child()
    try:
        environment = eventually(lambda: Path(f"/proc/{child.pid}/environ").read_bytes())
        assert b"DRIVE_TOKEN" not in environment
    finally:
        child.close()


def test_the_child_dies_with_its_worker() -> None:
    code = (
        "import sys, time; from apps.indexing.child import Child; from tempfile import TemporaryFile\n"
        "child = Child(); file = TemporaryFile(); file.write(b'<html>x'); file.flush()\n"
        "limits = {'kind': 'html', 'most': 9, 'memory': 1 << 30, 'cpu': 9.0}\n"
        "child.ask(limits, file, 60, 10**6, lambda: False); print(child.pid, flush=True); time.sleep(60)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    pid = int(worker.stdout.readline())
    assert psutil.pid_exists(pid)
    worker.kill()
    worker.wait()
    worker.stdout.close()
    eventually(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
