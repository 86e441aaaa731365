"""Read a file's content: streamed, capped, resumed where it broke, and compared with the checksum that Drive tells.

The client library's own download holds whole chunks in memory, and mixes two files of equal size without a word.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO

import requests
import urllib3

from ..digests import digest_of
from ..source import FileSkipped, FileUnavailable, Stopped
from .answers import refusal_of
from .calls import BrokenAnswer, Calls, Refused

BLOCK = 1 << 20
DEADLINE = 600.0
"""Seconds that reading one file may take."""

_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class Download:
    """Downloads over one connection."""

    def __init__(self, calls: Calls, largest: int, deadline: float = DEADLINE) -> None:
        self._calls, self._largest, self._deadline = calls, largest, deadline
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def read(self, uri: str, headers: Mapping[str, str], into: BinaryIO, *, resumable: bool) -> None:
        """Write what is at `uri` to `into`. Raises `FileSkipped`, `FileUnavailable`, and the errors of `Calls.ask`."""
        until = time.monotonic() + self._deadline
        into.seek(0)
        into.truncate()
        self._calls.persist(lambda: self._attempt(uri, headers, into, resumable, until))

    def _attempt(self, uri: str, headers: Mapping[str, str], into: BinaryIO, resumable: bool, until: float) -> None:
        start = into.tell() if resumable else 0
        sent = {**headers, "authorization": self._calls.authorization(), "accept-encoding": "identity"}
        if start:
            sent["range"] = f"bytes={start}-"
        with self._answer(uri, sent) as answer:
            if answer.status_code not in (200, 206):
                self._refuse(answer, into)
            if answer.status_code == 200 or not start:
                start = 0
            elif not _continues(answer, start):
                raise _restarting(into, "a part that was not asked for")
            into.seek(start)
            into.truncate()
            self._copy(answer, into, until)

    @contextmanager
    def _answer(self, uri: str, headers: Mapping[str, str]) -> Iterator[requests.Response]:
        timeout = self._calls.patience.timeout
        try:
            with self._session.get(uri, headers=dict(headers), stream=True, timeout=timeout) as answer:
                yield answer
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise BrokenAnswer(f"{type(error).__name__}: {error}"[:300]) from None

    def _refuse(self, answer: requests.Response, into: BinaryIO) -> None:
        """Raise for an answer without content. A range that is not there is a reason to begin anew."""
        if answer.status_code == 416 and into.tell():
            raise _restarting(into, "the file is shorter by now")
        raise Refused(refusal_of(answer.status_code, answer.raw.read(65536, decode_content=True), answer.headers))

    def _copy(self, answer: requests.Response, into: BinaryIO, until: float) -> None:
        expected = answer.headers.get("content-length", "")
        copied = 0
        while block := answer.raw.read1(BLOCK):
            copied += len(block)
            into.write(block)
            self._check(into.tell(), until)
        if expected.isdigit() and copied < int(expected):
            raise BrokenAnswer(f"{copied} of {expected} bytes, then nothing more")

    def _check(self, size: int, until: float) -> None:
        if self._calls.should_stop():
            raise Stopped
        if size > self._largest:
            raise FileSkipped(f"larger than {self._largest:,} bytes")
        if time.monotonic() > until:
            raise FileUnavailable(f"reading it took longer than {self._deadline:g} s", remote=True)


def is_intact(content: BinaryIO, checksum: str | None, size: int | None) -> bool:
    """Whether the content has this checksum (`algorithm:hexadecimal`) or, where none is known, this size."""
    if checksum is not None:
        algorithm, _, expected = checksum.partition(":")
        return digest_of(content, algorithm) == expected
    return size is None or content.seek(0, 2) == size


def _continues(answer: requests.Response, start: int) -> bool:
    found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
    return found is not None and int(found.group(1)) == start


def _restarting(into: BinaryIO, words: str) -> BrokenAnswer:
    into.seek(0)
    into.truncate()
    return BrokenAnswer(words)
