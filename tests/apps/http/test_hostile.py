"""Bytes that no honest client sends: each has an answer that is documented, none a traceback, and nothing is left behind."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from apps.http.connections import LARGEST_HEADERS
from tests.apps.http.test_access_log import Api
from tests.support import eventually

HOST = b"host: localhost\r\n"
JOB = json.dumps({"program_id": 1, "job_type": "quick"}).encode()
SIZE = b"%x\r\n" % len(JOB)
CHUNKED = b"transfer-encoding: chunked\r\n"


def get(path: bytes, more: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"GET %s HTTP/%s\r\n%s%s\r\n" % (path, version, HOST, more)


def post(more: bytes, body: bytes) -> bytes:
    return b"POST /job-queue/jobs HTTP/1.1\r\n%scontent-type: application/json\r\n%s\r\n%s" % (HOST, more, body)


HOSTILE: dict[str, tuple[bytes, set[int]]] = {
    "a chunk without a size": (post(CHUNKED, b"zz\r\n" + JOB), {400}),
    "a chunk of negative size": (post(CHUNKED, b"-1\r\n" + JOB), {400}),
    "a chunk larger than memory": (post(CHUNKED, b"f" * 18 + b"\r\n" + JOB), {400}),
    "a chunk without its end": (post(CHUNKED, SIZE + JOB + b"XX0\r\n\r\n"), {400}),
    "two lengths": (post(b"content-length: 35\r\ncontent-length: 3\r\n", JOB), {400}),
    "one length twice": (post(b"content-length: 35\r\n" * 2, JOB), {400}),
    "a list of lengths": (post(b"content-length: 35, 35\r\n", JOB), {400}),
    "a length with a sign": (post(b"content-length: +35\r\n", JOB), {400}),
    "an endless length": (post(b"content-length: %s\r\n" % (b"9" * 23), JOB), {400}),
    "a length and chunks": (post(b"content-length: 35\r\n" + CHUNKED, SIZE + JOB + b"\r\n0\r\n\r\n"), {400}),
    "chunks twice": (post(CHUNKED * 2, SIZE + JOB + b"\r\n0\r\n\r\n"), {400}),
    "chunks, then more": (post(b"transfer-encoding: chunked, gzip\r\n", JOB), {400}),
    "almost chunks": (post(b"transfer-encoding: xchunked\r\n", JOB), {400}),
    "chunks after a space": (post(b"transfer-encoding : chunked\r\n", JOB), {400}),
    "a TLS hello": (bytes.fromhex("16030100f8010000f40303") + bytes(range(230)), {400}),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
    "HTTP/3.7": (get(b"/livez", version=b"3.7"), {400}),
    "HTTP/1.0": (get(b"/livez", version=b"1.0"), {200}),
    "CONNECT": (b"CONNECT elsewhere.test:443 HTTP/1.1\r\n%s\r\n" % HOST, {400}),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\n%s\r\n" % HOST, {404}),
    "a method of nobody": (b"FROB /livez HTTP/1.1\r\n%s\r\n" % HOST, {400}),
    "a WebSocket": (get(b"/livez", b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"), {200}),
    "many at once": (get(b"/livez") * 500, {200}),
    "another host": (b"GET / HTTP/1.1\r\nhost: elsewhere.test\r\n\r\n", {307}),
    "a path of another host": (get(b"//elsewhere.test/%2e%2e"), {404}),
    "a path out of the folder": (get(b"/docs/..%2f..%2fetc%2fpasswd"), {404}),
    "a NUL in the path": (get(b"/livez%00"), {404}),
    "a bare NUL in the path": (get(b"/li\0vez"), {400}),
    "bytes that are no text": (get(b"/\xff\xfe"), {400}),
    "half a character": (get(b"/%ed%a0%80"), {404}),
    "a line break in the path": (get(b"/%0d%0aX-Forged:%20yes"), {404}),
    "a path without end": (get(b"/" + b"a" * 2 * LARGEST_HEADERS), {431}),
    "a query of many keys": (get(b"/job-queue/jobs/1?" + b"&".join(b"%d" % number for number in range(10_000))), {401}),
    "many headers": (get(b"/livez", b"".join(b"x-%d: y\r\n" % number for number in range(5_000))), {200}),
    "a folded header": (get(b"/livez", b"x: a\r\n b\r\n"), {400}),
    "a NUL in a header": (get(b"/livez", b"x: a\0b\r\n"), {400}),
    "lines without CR": (b"GET /livez HTTP/1.1\nhost: localhost\n\n", {400}),
    "a token that is no text": (get(b"/job-queue/status", b"authorization: Bearer \xff\r\n"), {401}),
    "two tokens": (get(b"/job-queue/status", b"authorization: Bearer a\r\n" * 2), {401}),
    "a token in the query": (get(b"/job-queue/status?access_token=hunter2hunter2"), {401}),
    "a part of a file": (get(b"/docs/swagger-ui.css", b"range: bytes=0-9\r\n"), {200}),
    "no part of a file": (get(b"/docs/swagger-ui.css", b"range: lines=9-1,\xff\r\n"), {200}),
    "a form": (post(b"content-length: 5\r\n", b"hello").replace(b"application/json", b"multipart/form-data"), {401}),
}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    served = Api(tmp_path)
    yield served
    served.stop()


def connect(api: Api) -> socket.socket:
    host, _, port = str(api.url).removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def answers(api: Api, data: bytes) -> bytes:
    """What comes back to these bytes, and to an honest request behind them, until the server closes."""
    found = b""
    with connect(api) as client, suppress(ConnectionError):
        client.sendall(data + get(b"/livez", b"connection: close\r\n"))
        while some := client.recv(65_536):
            found += some
    return found


def descriptors(api: Api) -> int:
    return len(os.listdir(f"/proc/{api.process.pid}/fd"))


def test_whatever_bytes_come_the_answer_is_one_that_is_documented(api: Api) -> None:
    answers(api, get(b"/readyz"))
    before = descriptors(api)
    for name, (data, statuses) in HOSTILE.items():
        found = answers(api, data)
        assert found, name
        first, *others = found.split(b"HTTP/1.1 ")[1:]
        assert int(first[:3]) in statuses, (name, first[:200])
        assert {answer[:3] for answer in others} <= {b"200"}, (name, others)
        for answer in (first, *others):
            assert int(answer[:3]) < 400 or b"application/problem+json" in answer, (name, answer[:200])
        assert b"elsewhere" not in found, name
        assert b"x-forged" not in found.lower(), name
    eventually(lambda: descriptors(api) <= before + 1)
    log = api.log.read_text()
    assert "Traceback" not in log
    assert "hunter2" not in log


@pytest.mark.parametrize(
    "begun", [post(CHUNKED, SIZE + JOB + b"\r\n0\r\n"), get(b"/openapi.json") + b"GET /livez HTTP/1.1\r\n"],
    ids=["after a body", "behind another request"],
)
def test_headers_without_end_have_one_wherever_they_come(api: Api, begun: bytes) -> None:
    answers(api, get(b"/openapi.json"))
    memory = resident(api)
    with connect(api) as client, suppress(ConnectionError):
        client.sendall(begun)
        for _ in range(500):
            client.sendall(b"x-a: b\r\n" * 12_500)
    assert resident(api) - memory < 20_000_000


def resident(api: Api) -> int:
    pages = int(Path(f"/proc/{api.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
