"""The public keys of an identity provider: fetched beside the requests, kept through its outages, never asked for too often."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import requests
import structlog
from jwt import PyJWK, PyJWKSet

from config import mask

FRESH = 300.0
"""Seconds after which the keys are fetched again, so that one that was withdrawn is forgotten."""

KEPT = 3600.0
"""Seconds for which keys count while the provider does not answer."""

SPACING = 10.0
"""Seconds between two fetches at least, whatever keys are asked for."""

PATIENCE = 3.0
"""Seconds for which a request waits for a fetch."""

DEADLINE = 5.0
"""Seconds that a fetch may take."""

LARGEST = 1_000_000

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Algorithms whose keys may be public. With any other, who knows the public key could sign."""

log = structlog.get_logger("jobqueue.api")


class KeysUnavailable(Exception):
    """The key is not known, and the identity provider does not say whether there is one."""


class SigningKeys:
    """The keys at a URL, for all threads of a process. At most one thread fetches at a time."""

    def __init__(
        self, url: str, spacing: float = SPACING, patience: float = PATIENCE, deadline: float = DEADLINE
    ) -> None:
        self._url, self._spacing, self._patience, self._deadline = url, spacing, patience, deadline
        self._lock = threading.Lock()
        self._keys: dict[str, PyJWK] = {}
        self._fetched_at = self._began_at = -KEPT
        self._failed = False
        self._fetched = threading.Event()

    def find(self, key_id: str) -> PyJWK | None:
        """The key of that id; None when the provider has none. Raises `KeysUnavailable`.

        An unknown key has the keys fetched again, in case they were changed; it waits `PATIENCE` for that.
        """
        with self._lock:
            now = time.monotonic()
            key = self._usable(now).get(key_id)
            if key is None or now - self._fetched_at > FRESH:
                self._fetch_unless_too_soon(now)
            fetched, patience = self._fetched, self._began_at + self._patience - now
        if key is not None:
            return key
        answered = fetched.wait(max(0.0, patience))
        with self._lock:
            key = self._usable(time.monotonic()).get(key_id)
            if key is None and (self._failed or not answered):
                raise KeysUnavailable
            return key

    def _usable(self, now: float) -> dict[str, PyJWK]:
        return self._keys if now - self._fetched_at < KEPT else {}

    def _fetch_unless_too_soon(self, now: float) -> None:
        is_fetching = self._began_at > -KEPT and not self._fetched.is_set()
        if is_fetching or now - self._began_at < self._spacing:
            return
        self._began_at, self._fetched = now, threading.Event()
        threading.Thread(target=self._fetch, args=(self._fetched,), name="signing keys", daemon=True).start()

    def _fetch(self, fetched: threading.Event) -> None:
        try:
            keys = usable_keys(_document(self._url, self._deadline))
        except Exception as error:  # whatever a server sends: the keys that are known stay
            log.warning("jwt.keys_unavailable", url=mask(self._url), error=f"{type(error).__name__}: {error}")
            keys = {}
        with self._lock:
            self._failed = not keys
            if keys:
                self._keys, self._fetched_at = keys, time.monotonic()
        fetched.set()


def usable_keys(document: Any) -> dict[str, PyJWK]:
    """The keys for signatures in a JWKS document, by their ids. Raises `ValueError` when there are none."""
    if not isinstance(document, dict):
        raise ValueError("this is not a JWKS document")
    keys = {
        key.key_id: key
        for key in PyJWKSet.from_dict(document)
        if isinstance(key.key_id, str) and key.public_key_use in (None, "sig") and key.algorithm_name in ASYMMETRIC
    }
    if not keys:
        raise ValueError("no key in it has a kid and can check an asymmetric signature")
    return keys


def _document(url: str, deadline: float) -> Any:
    """What stands at the URL as JSON, read within `deadline` seconds however it trickles; a redirect is not followed."""
    until = time.monotonic() + deadline
    with requests.get(url, timeout=deadline, stream=True, allow_redirects=False) as answer:
        if answer.status_code != 200:
            raise ValueError(f"it answered {answer.status_code}")
        body = b""
        while piece := answer.raw.read1(65_536, decode_content=True):
            body += piece
            if len(body) > LARGEST:
                raise ValueError(f"it sends more than {LARGEST} bytes")
            if time.monotonic() > until:
                raise TimeoutError(f"it takes more than {deadline:g} s")
    return json.loads(body)
