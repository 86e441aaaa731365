"""What the API takes from a client, at most: bytes, time, requests a second, connections."""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx2
import psutil
import pytest

from apps.api import make_api
from apps.http.connections import LARGEST_HEADERS
from apps.http.limits import MOST_KEYS, Rates
from apps.http.peers import household
from tests.apps.http.conftest import Person
from tests.apps.http.conftest import Served as Api
from tests.apps.http.serving import serving as serving_here
from tests.support import eventually

PROGRAM = """
import asyncio, sys
from uvicorn import Config, Server
from fastapi import Body
from apps.api import api_app

@api_app.post("/echo")
def echo(body: dict = Body()) -> dict:
    return {"keys": len(body)}

@api_app.get("/large")
def large() -> str:
    return "x" * 50_000_000

server = Server(Config(api_app, host="127.0.0.1", port=0, log_level="warning", access_log=False))
async def main():
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await serving
asyncio.run(main())
"""


class Served:
    """A server with small limits, as a process of its own."""

    def __init__(self, port: int, process: psutil.Process) -> None:
        self.port, self.process = port, process

    def connect(self) -> socket.socket:
        """A fresh connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, *parts: bytes) -> tuple[int, bytes]:
        """Send these parts, one after the other, and return the status and the whole answer."""
        with self.connect() as client:
            for part in parts:
                with suppress(OSError):
                    client.sendall(part)
            return answer_of(client)

    @property
    def memory(self) -> int:
        """Resident bytes."""
        return int(self.process.memory_info().rss)


def answer_of(client: socket.socket) -> tuple[int, bytes]:
    """The status and all that came until the server closed, or said all it announced."""
    data = b""
    with suppress(ConnectionResetError):
        while (some := client.recv(65536)):
            data += some
            head, separator, body = data.partition(b"\r\n\r\n")
            length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None)
            if separator and length and len(body) >= int(length.split(b":")[1]):
                break
    assert data, "the server closed without an answer"
    return int(data.split()[1]), data


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as server:
        yield server


@contextmanager
def serving(folder: Path, **settings: object) -> Iterator[Served]:
    """A server whose limits are small, unless told otherwise."""
    limits = {"RATE_LIMIT": 1000, "LARGEST_BODY": 100_000, "REQUEST_TIMEOUT": 1, "MOST_CONNECTIONS": 50, **settings}
    (folder / "jobqueue.yaml").write_text("database_url: sqlite:///queue.db\napi: {auth: none}\n")
    own = {f"JOBQUEUE__API__{name}": str(value) for name, value in limits.items()}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=folder, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **own, "PYTHONPATH": os.getcwd(), "JOBQUEUE_SUPERVISED": str(folder)},  # none of its own
    )
    try:
        assert process.stdout is not None
        yield Served(int(process.stdout.readline()), psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(20)


def post(body: bytes, *, chunked: bool = False, length: int | None = None) -> bytes:
    """The bytes of a request."""
    head = b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    if chunked:
        return head + b"transfer-encoding: chunked\r\n\r\n" + body
    return head + b"content-length: %d\r\n\r\n" % (len(body) if length is None else length) + body


LIVEZ = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"


def test_a_body_within_its_limits_arrives(served: Served) -> None:
    body = json.dumps({str(number): "x" * 100 for number in range(500)}).encode()
    status, answer = served.ask(post(body))
    assert (status, b'{"keys":500}' in answer) == (200, True)


def test_a_body_that_says_that_it_is_too_large_is_refused_before_it_is_sent(served: Served) -> None:
    status, answer = served.ask(post(b"", length=10**12))
    assert status == 413, "a body larger than allowed was waited for"
    assert (b"at most 100000 bytes" in answer, b"application/problem+json" in answer) == (True, True)


def test_a_body_without_a_length_is_refused_while_it_streams_and_is_not_kept(served: Served) -> None:
    chunk = b"%x\r\n%s\r\n" % (60_000, b"x" * 60_000)
    before = served.memory
    status, _ = served.ask(post(b"", chunked=True), *[chunk] * 500)
    assert status == 413, "a body larger than allowed was taken"
    assert served.memory - before < 20_000_000
    assert served.ask(LIVEZ)[0] == 200


def test_a_body_that_trickles_is_given_up_in_time(served: Served) -> None:
    began = time.monotonic()
    status, _ = served.ask(post(b"{", length=1000))
    assert status == 408
    assert 0.9 < time.monotonic() - began < 5


def test_headers_that_trickle_are_given_up_in_time(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nhost: loc")
        assert answer_of(client)[0] == 408


def test_headers_that_trickle_after_a_first_request_are_given_up_too(served: Served) -> None:
    with served.connect() as client:
        client.sendall(LIVEZ)
        assert answer_of(client)[0] == 200
        client.sendall(b"GET /livez HT")
        assert answer_of(client)[0] == 408


def test_headers_without_end_are_refused(served: Served) -> None:
    endless = [b"x-%d: %s\r\n" % (number, b"y" * 1000) for number in range(2 * LARGEST_HEADERS // 1000)]
    status, _ = served.ask(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n", *endless)
    assert status == 431


def test_a_client_that_never_reads_its_answer_is_given_up(served: Served) -> None:
    with served.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert client.recv(1) == b"H"
        eventually(lambda: connections(served) == 0, within=15)


def test_one_client_that_asks_too_often_is_told_when_to_come_back_and_another_is_not(tmp_path: Path) -> None:
    mine = b"GET /nothing HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer mine\r\n\r\n"
    with serving(tmp_path, RATE_LIMIT=5) as served:
        began = time.monotonic()
        answers = [served.ask(mine) for _ in range(30)]
        granted = 5 * (time.monotonic() - began)
        refused = [answer for status, answer in answers if status == 429]
        assert 30 - 10 - 1 - granted <= len(refused) < 25
        assert b"retry-after: 1" in refused[0]
        assert served.ask(mine.replace(b"mine", b"other"))[0] != 429
        assert served.ask(LIVEZ)[0] == 200
        eventually(lambda: served.ask(mine)[0] != 429)


def test_a_new_token_for_each_request_gains_a_stranger_little(tmp_path: Path) -> None:
    with serving(tmp_path, RATE_LIMIT=1) as served:
        ask = b"GET /nothing HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %d\r\n\r\n"
        assert [served.ask(ask % number)[0] for number in range(100)].count(429) > 10


def test_a_token_gains_nothing_by_being_written_in_another_way(tmp_path: Path) -> None:
    with serving(tmp_path, RATE_LIMIT=1) as served:
        ask = b"GET /nothing HTTP/1.1\r\nhost: localhost\r\nauthorization: bearer%s one\r\n\r\n"
        assert [served.ask(ask % (b" " * number))[0] for number in range(9)].count(429) >= 5


def test_another_scheme_than_bearer_counts_as_no_token(tmp_path: Path) -> None:
    with serving(tmp_path, RATE_LIMIT=1) as served:
        ask = b"GET /nothing HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic %d\r\n\r\n"
        assert [served.ask(ask % number)[0] for number in range(9)].count(429) >= 5


def test_a_known_user_is_not_slowed_by_a_stranger_behind_the_same_proxy(
    server: Callable[..., Api], database_url: str, person: Person
) -> None:
    served = server(database_url, api={"auth": "tokens", "rate_limit": 1})
    anna = served.as_user(person("anna"))
    assert anna.get("/job-queue/status").status_code == 200
    tokens = [{"Authorization": f"Bearer jq_{number:043d}"} for number in range(100)]
    asked = [served.client.get("/job-queue/status", headers=token).status_code for token in tokens]
    assert {401, 429} == set(asked)
    assert anna.get("/job-queue/status").status_code == 200


def test_addresses_of_one_household_are_one() -> None:
    assert household("2001:db8::1") == household("2001:db8::ffff:1") != household("2001:db8:0:1::1")
    assert household("::ffff:192.0.2.1") == household("192.0.2.1") != household("192.0.2.2")
    assert household("") == ""


def test_a_bucket_fills_with_time_and_forgets_who_came_long_ago() -> None:
    now = [0.0]
    rates = Rates(2.0, lambda: now[0])
    assert [rates.take("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    now[0] = 0.5
    assert rates.take("a") == 0
    for number in range(MOST_KEYS):
        rates.take(str(number))
    assert [rates.take("a") for _ in range(5)][-1] > 0


def test_ten_thousand_idle_connections_are_refused_politely_and_keep_nobody_out(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 10_000 if hard == resource.RLIM_INFINITY else min(10_000, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 500), hard))
    with serving(tmp_path, REQUEST_TIMEOUT=30) as served, ExitStack() as held:
        clients = [held.enter_context(served.connect()) for _ in range(wanted)]
        assert served.ask(LIVEZ)[0] == 200
        assert answer_of(clients[0])[0] in (408, 503)
        eventually(lambda: connections(served) <= 50)
        assert served.process.is_running()


def test_connections_in_use_are_not_ended_for_new_ones(tmp_path: Path) -> None:
    with serving(tmp_path, REQUEST_TIMEOUT=5, MOST_CONNECTIONS=10) as served, ExitStack() as held:
        busy = [held.enter_context(served.connect()) for _ in range(10)]
        for client in busy:
            client.sendall(post(b"{", length=2).replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n"))
            assert client.recv(1000).startswith(b"HTTP/1.1 100")
        assert served.ask(LIVEZ)[0] == 503
        for client in busy:
            client.sendall(b"}")
            assert answer_of(client)[0] == 200
        eventually(lambda: served.ask(LIVEZ)[0] == 200)


@pytest.mark.parametrize("body", [
    b'{"program_id": 1, "job_type": "quick", "job_parameters": {"a": [' + b"[]," * 600_000 + b"1]}}",
    b'{"program_id": 1, "job_type": "quick", ' + b",".join(b'"k%d": 1' % number for number in range(150_000)) + b"}",
], ids=["lists", "keys"])
def test_a_body_of_countless_small_things_keeps_nobody_waiting(tmp_path: Path, body: bytes) -> None:
    waits = []
    with serving(tmp_path, LARGEST_BODY=2_000_000, REQUEST_TIMEOUT=10) as served, served.connect() as slow:
        slow.sendall(post(body[:-1], length=len(body)).replace(b"/echo", b"/job-queue/jobs"))
        assert served.ask(LIVEZ)[0] == 200
        slow.sendall(body[-1:])
        while not select.select([slow], [], [], 0)[0]:
            began = time.monotonic()
            assert served.ask(LIVEZ)[0] == 200
            waits.append(time.monotonic() - began)
        assert answer_of(slow)[0] == 422
    assert max(waits, default=0) < 0.25


def test_bytes_count_while_they_arrive_and_what_is_too_much_together_is_refused_but_for_small_bodies(tmp_path: Path) -> None:
    large, small = json.dumps({"a": "x" * 90_000}).encode(), json.dumps({"a": "x" * 10_000}).encode()
    with serving(tmp_path, MOST_CONNECTIONS=200, REQUEST_TIMEOUT=5) as served:
        with ExitStack() as held:
            for client in [held.enter_context(served.connect()) for _ in range(72)]:
                client.sendall(post(b" " * 95_000, length=100_000))
            status, answer = eventually(lambda: (busy := served.ask(post(large)))[0] == 503 and busy)
            assert (status, b"/problems/too-busy" in answer, b"retry-after: 1" in answer) == (503, True, True)
            assert served.ask(post(small))[0] == 200
        eventually(lambda: served.ask(post(large))[0] == 200)


def test_an_answer_is_sent_whole_at_once_also_on_a_socket_that_several_workers_share(steady: Api) -> None:
    shared = socket.socket(socket.AF_INET, socket.SOCK_STREAM)  # as uvicorn makes it: it does not name its protocol
    shared.bind(("127.0.0.1", 0))
    with serving_here(make_api(steady.services), shared) as url, httpx2.Client(base_url=url, trust_env=False) as client:
        waits = sorted(client.get("/livez").elapsed for _ in range(60))
    assert waits[20].total_seconds() < 0.03, "the second half of an answer waits for the client's delayed acknowledgement"


def connections(served: Served) -> int:
    """How many clients the server has."""
    return sum(each.status == psutil.CONN_ESTABLISHED for each in served.process.net_connections("tcp"))
