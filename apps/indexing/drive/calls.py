"""Requests to a server that speaks Drive v3, asked again where that helps.

The client library builds the requests and parses the answers. Retries are our own: the library's ignore Retry-After,
know one shape of errors, and sleep where nobody can wake them.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httplib2
from google.auth.exceptions import GoogleAuthError
from googleapiclient.discovery import build
from googleapiclient.errors import Error, HttpError
from googleapiclient.http import HttpRequest

from ..credentials import Credential
from ..source import CoolDown, ShouldStop, SourceError, SourceUnusable, Stopped
from .answers import Refusal, Verdict, refusal_of

GOOGLE = "https://www.googleapis.com/drive/v3/"
LONGEST_COOL_DOWN = 3600.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one request is worth waiting for. Seconds; `waits` in all, beyond which the job is given back instead."""

    attempts: int = 5
    first: float = 0.5
    longest: float = 16.0
    waits: float = 30.0
    timeout: float = 30.0


class Unreachable(SourceError):
    """The server gave no usable answer, however often it was asked."""


class Refused(SourceError):
    """The server refused, and asking again would not help."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal

    @property
    def verdict(self) -> Verdict:
        """What to do about it."""
        return self.refusal.verdict


class BrokenAnswer(Exception):
    """Not an answer to what was asked, or only a part of it."""


def endpoint_of(setting: object) -> str:
    """The address of the API: Google's own by default; without a path, `/drive/v3/` is meant. Raises `SourceUnusable`."""
    if setting is None:
        return GOOGLE
    parts = urlsplit(setting) if isinstance(setting, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.netloc:
        raise SourceUnusable(f"settings.endpoint: {setting!r} is not the address of a server; write it like {GOOGLE}")
    path = parts.path.strip("/") or "drive/v3"
    return f"{parts.scheme}://{parts.netloc}/{path}/"


class Calls:
    """A connection for one thread and one credential."""

    def __init__(
        self,
        credential: Credential,
        endpoint: str,
        should_stop: ShouldStop,
        patience: Patience | None = None,
        random: Random | None = None,
    ) -> None:
        self.endpoint, self.should_stop = endpoint, should_stop
        self.patience = patience or Patience()
        self._credential, self._random = credential, random or Random()
        self._token = credential.token()
        self._http = httplib2.Http(timeout=self.patience.timeout, proxy_info=None)
        self._http.follow_redirects = False
        self.service: Any = build(
            "drive", "v3", http=self._http, static_discovery=True, cache_discovery=False,
            client_options={"api_endpoint": endpoint},
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def authorization(self) -> str:
        """The header that shows the credential; for requests to `endpoint` only."""
        return f"Bearer {self._token}"

    def ask(
        self, request_of: Callable[[Any], HttpRequest], expected: str, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """The JSON object that answers the request, which has the key `expected`.

        `request_of` makes the request from the service, anew for each attempt. Raises `Refused`, `Unreachable`, `CoolDown`,
        `SourceUnusable` and `Stopped`.
        """
        return self.persist(lambda: self._once(request_of(self.service), expected, headers or {}))

    def _once(self, request: HttpRequest, expected: str, headers: dict[str, str]) -> dict[str, Any]:
        request.headers.update(headers, authorization=self.authorization())
        try:
            answer = request.execute(num_retries=0)
        except HttpError as error:
            raise Refused(refusal_of(error.resp.status, error.content, error.resp)) from None
        if not isinstance(answer, dict) or expected not in answer:
            raise BrokenAnswer("an answer that is not what was asked for")
        return answer

    def persist(self, attempt: Callable[[], Answer]) -> Answer:
        """Do it until it succeeds, or patience ends. The errors are those of `ask`."""
        failures, waited = 0, 0.0
        while True:
            try:
                return attempt()
            except Refused as error:
                failures, pause = self._after_refusal(error, failures)
            except (BrokenAnswer, http.client.HTTPException, OSError, httplib2.HttpLib2Error, Error, GoogleAuthError) as error:
                failures, pause = self._after_failure(_words(error), failures)
            waited += pause
            if waited > self.patience.waits:
                raise CoolDown(min(max(pause, self.patience.waits), LONGEST_COOL_DOWN), "Google Drive asks for a pause")
            self.wait(pause)

    def _after_refusal(self, error: Refused, failures: int) -> tuple[int, float]:
        refusal = error.refusal
        if refusal.verdict is Verdict.CREDENTIAL:
            self._token = self._credential.token(refused=self._token)
            return self._after_failure(str(refusal), failures)[0], 0.0
        if refusal.verdict is Verdict.JOB:
            raise SourceUnusable(f"Google Drive refuses this credential: {refusal}; see the Cloud project and the token's scopes")
        if refusal.verdict is Verdict.AGAIN:
            failures, pause = self._after_failure(str(refusal), failures)
            return failures, max(pause, refusal.retry_after or 0.0)
        if refusal.verdict is Verdict.COOL_DOWN:
            return self._after_rate_limit(refusal, failures)
        raise error

    def _after_rate_limit(self, refusal: Refusal, failures: int) -> tuple[int, float]:
        if refusal.retry_after is not None and refusal.retry_after > self.patience.waits:
            raise CoolDown(min(refusal.retry_after, LONGEST_COOL_DOWN), f"Google Drive asks for a pause: {refusal}")
        if failures + 1 >= self.patience.attempts:
            raise CoolDown(max(refusal.retry_after or 0.0, 60.0), f"Google Drive asks for a pause: {refusal}")
        return failures + 1, refusal.retry_after if refusal.retry_after is not None else self._pause(failures)

    def _after_failure(self, words: str, failures: int) -> tuple[int, float]:
        if failures + 1 >= self.patience.attempts:
            raise Unreachable(f"no answer from {self.endpoint} in {self.patience.attempts} attempts; the last one: {words}")
        return failures + 1, self._pause(failures)

    def _pause(self, failures: int) -> float:
        """Full jitter: any time up to the exponential delay."""
        return self._random.uniform(0.0, min(self.patience.longest, self.patience.first * 2.0**failures))

    def wait(self, seconds: float) -> None:
        """Sleep, but not through a word to stop. Raises `Stopped`."""
        until = time.monotonic() + seconds
        while True:
            if self.should_stop():
                raise Stopped
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(0.1, left))


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
