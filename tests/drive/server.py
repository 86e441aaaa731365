"""The server: real sockets, real HTTP/1.1, one thread for each connection."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from . import discovery, oauth, routes
from .content import Drive
from .faults import JSON, Fault, Rule, error_body
from .routes import ApiError, Call

PREFIX = "/drive/v3/"


@dataclass(frozen=True)
class Route:
    """One method of the API: its path, its place in the discovery document, what answers it, and the answer's schema."""

    name: str
    path: re.Pattern[str]
    place: tuple[str, str]
    answer: Callable[[Call], Any]
    schema: str | None


ROUTES = (
    Route("files.list", re.compile("files"), ("files", "list"), routes.list_files, "FileList"),
    Route("files.export", re.compile("files/(?P<fileId>[^/]+)/export"), ("files", "export"), routes.export, None),
    Route("files.get", re.compile("files/(?P<fileId>[^/]+)"), ("files", "get"), routes.get, "File"),
    Route("changes.start", re.compile("changes/startPageToken"), ("changes", "getStartPageToken"), routes.start_page_token,
          "StartPageToken"),
    Route("changes.list", re.compile("changes"), ("changes", "list"), routes.list_changes, "ChangeList"),
    Route("drives.get", re.compile("drives/(?P<driveId>[^/]+)"), ("drives", "get"), routes.get_drive, "Drive"),
    Route("drives.list", re.compile("drives"), ("drives", "list"), routes.list_drives, "DriveList"),
)
MEDIA = Route("files.media", re.compile("-"), ("files", "get"), routes.media, None)


@dataclass
class Asked:
    """One request, as it was logged."""

    method: str
    route: str
    id: str | None
    parameters: dict[str, str]
    token: str | None
    range: str | None
    status: int = 0


@dataclass
class Answer:
    """What is sent."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))


class DriveServer:
    """A context manager. `url` is its address; `drive` what it serves; `rules` how it misbehaves; `log` what was asked.

    `tokens` maps access tokens to users. `violations` lists what broke the discovery document, from either side; leaving
    the context raises `AssertionError` if there is any. `oauth` issues access tokens at `token_url` (route `token` of the rules).
    """

    def __init__(self, drive: Drive | None = None, tokens: Mapping[str, str] | None = None) -> None:
        self.drive = drive or Drive()
        self.tokens = dict(tokens or {"token-of-alice": "alice"})
        self.rules: list[Rule] = []
        self.log: list[Asked] = []
        self.violations: list[str] = []
        self.oauth = oauth.TokenEndpoint()
        self.stopping = threading.Event()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def token_url(self) -> str:
        """Where access tokens are issued."""
        return f"{self.url}{oauth.PATH}"

    def expire(self, *kept: str) -> None:
        """Let all access tokens but these expire now."""
        self.tokens = {token: user for token, user in self.tokens.items() if token in kept}
        self.oauth.issued.clear()

    def __enter__(self) -> DriveServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        assert kind is not None or not self.violations, self.violations

    def asked(self, route: str) -> list[Asked]:
        """The requests for one route so far."""
        return [each for each in self.log if each.route == route]

    # One request

    def answer(self, asked: Asked, route: Route | None, headers: Mapping[str, str]) -> tuple[Answer, Fault | None]:
        """The answer, and the fault that befalls it."""
        fault = next((rule.fault for rule in self.rules if rule.matches(asked.route, asked.id, asked.token)), None)
        if fault is not None and fault.status is not None:
            return Answer(fault.status, fault.body, {**fault.headers}), fault
        try:
            with self.drive.lock:
                return self._honest(asked, route, headers, fault), fault
        except ApiError as error:
            return Answer(error.status, error_body(error.status, error.reason, error.message, **error.more)), fault

    def _honest(self, asked: Asked, route: Route | None, headers: Mapping[str, str], fault: Fault | None) -> Answer:
        if route is None:
            raise ApiError(404, "notFound", "Not Found")
        user = self.tokens.get(asked.token or "")
        if user is None:
            raise ApiError(401, "authError", "Invalid Credentials", location="Authorization", locationType="header")
        self._check_parameters(route, asked.parameters)
        found = route.answer(Call(self.drive, user, asked.parameters, headers))
        if route.schema is None:
            return _content(found, None if fault and fault.ignore_range else asked.range, fault)
        self._check_answer(route, found)
        return Answer(200, json.dumps(fault.change(found) if fault and fault.change else found).encode())

    def _check_parameters(self, route: Route, given: Mapping[str, str]) -> None:
        problems = discovery.problems_of_parameters(*route.place, given)
        self.violations += [f"asked for {route.name}: {each}" for each in problems]
        if problems:
            raise ApiError(400, "badRequest", problems[0])

    def _check_answer(self, route: Route, found: Any) -> None:
        problems = discovery.problems_of_answer(route.schema or "", found)
        self.violations += [f"answer of {route.name}: {each}" for each in problems]
        if problems:
            raise ApiError(500, "internalError", problems[0])


def _content(found: tuple[str, bytes], wanted: str | None, fault: Fault | None) -> Answer:
    """Content, or the part of it that a range names."""
    mime_type, content = found
    content = fault.spoil(content) if fault and fault.spoil else content
    headers = {"content-type": mime_type}
    part = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "")
    if part is None:
        return Answer(200, content, headers)
    start, end = int(part[1]), min(int(part[2] or len(content)), len(content) - 1)
    if start >= len(content):
        return Answer(416, b"", headers | {"content-range": f"bytes */{len(content)}"})
    return Answer(206, content[start : end + 1], headers | {"content-range": f"bytes {start}-{end}/{len(content)}"})


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    owner: DriveServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are none of our business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def do_GET(self) -> None:
        self._serve("GET", {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if urlsplit(self.path).path == oauth.PATH:
            return self._serve_token(dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)))
        overridden = self.headers.get("x-http-method-override", "POST")
        return self._serve(overridden, dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)))

    def _serve(self, method: str, form: dict[str, str]) -> None:
        parts = urlsplit(self.path)
        parameters = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **form}
        route, named = _found(method, parts.path, parameters)
        token = re.sub("^Bearer ", "", self.headers.get("authorization", "")) or None
        asked = Asked(method, route.name if route else "-", next(iter(named.values()), None), {**parameters, **named}, token,
                      self.headers.get("range"))
        self.server.owner.log.append(asked)
        lowered = {key.lower(): value for key, value in self.headers.items()}
        answer, fault = self.server.owner.answer(asked, route, lowered)
        asked.status = answer.status
        self._send(answer, fault or Fault())

    def _serve_token(self, form: dict[str, str]) -> None:
        server = self.server.owner
        asked = Asked("POST", "token", None, form, None, None)
        server.log.append(asked)
        fault = next((rule.fault for rule in server.rules if rule.matches("token", None, None)), None)
        if fault is not None and fault.status is not None:
            answer = Answer(fault.status, fault.body, {**fault.headers})
        else:
            asked.status, body = server.oauth.answer(form)
            server.tokens.update(server.oauth.issued)
            answer = Answer(asked.status, body)
        asked.status = answer.status
        self._send(answer, fault or Fault())

    def _send(self, answer: Answer, fault: Fault) -> None:
        if fault.hang and self.server.owner.stopping.wait(fault.hang):
            return None
        if fault.only is not None and fault.only < 0:
            return self._break()
        self.send_response(answer.status)
        for name, value in {**answer.headers, "content-length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[: fault.only])
        if fault.only is not None:
            self._break()
        return None

    def _break(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: `DriveServer.log` is the log."""


def _found(method: str, path: str, parameters: Mapping[str, str]) -> tuple[Route | None, dict[str, str]]:
    if method != "GET" or not path.startswith(PREFIX):
        return None, {}
    for route in ROUTES:
        match = route.path.fullmatch(path.removeprefix(PREFIX))
        if match:
            is_media = route.name == "files.get" and parameters.get("alt") == "media"
            return MEDIA if is_media else route, {name: unquote(value) for name, value in match.groupdict().items()}
    return None, {}
