"""Credentials that get themselves new access tokens: refresh tokens and service accounts, by Google's own library."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import requests
from google.auth.exceptions import GoogleAuthError, RefreshError
from google.auth.transport.requests import Request
from google.oauth2 import credentials, service_account

from .source import CoolDown, SourceUnusable

SCOPE = "https://www.googleapis.com/auth/drive.readonly"
TIMEOUT = 30.0
PAUSE = 60.0
"""Seconds after which a job runs again when the token endpoint had trouble of its own."""

FRESH = 60.0
"""Seconds for which a new access token is good whatever happens: refused before, it is not its age that is refused."""

_KEY_FIELDS = ("client_email", "private_key", "private_key_id")


class Refreshed:
    """An access token that is replaced by a new one when the server refuses it."""

    def __init__(self, own: Any, given: str | None, where: str, how_to_store: str, what: str) -> None:
        self._own, self._current, self._where, self._what = own, given, where, what
        self._how_to_store = f"{how_to_store} {what}"
        self._session = requests.Session()
        self._session.trust_env = False
        self._refreshed_at = -FRESH

    def token(self, refused: str | None = None) -> str:
        """The token; a new one at first, and instead of one that was refused. Raises `SourceUnusable` and `CoolDown`."""
        if self._current is None or self._current == refused:
            if time.monotonic() - self._refreshed_at < FRESH:
                raise SourceUnusable(
                    f"Google Drive refuses even a new access token of {self._where} (401); see its rights in the Cloud project"
                )
            self._current = self._refresh()
            self._refreshed_at = time.monotonic()
        return self._current

    def _refresh(self) -> str:
        try:
            self._own.refresh(self._ask)
        except RefreshError as error:
            raise self._meaning(error) from None
        except (GoogleAuthError, requests.RequestException) as error:
            raise CoolDown(PAUSE, f"Google's token endpoint does not answer ({type(error).__name__})") from None
        return str(self._own.token)

    def _ask(self, url: str, method: str = "GET", body: Any = None, headers: Any = None, **more: Any) -> Any:
        # Not followed anywhere: what is sent is worth more than any answer.
        return Request(self._session)(url, method, body, headers, timeout=TIMEOUT, allow_redirects=False)

    def _meaning(self, error: RefreshError) -> Exception:
        """What a refusal of the token endpoint means; of its answer nothing but the code is shown."""
        if error.retryable:
            return CoolDown(PAUSE, "Google's token endpoint has trouble; the job runs again later")
        answer = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], dict) else {}
        code = str(answer.get("error", ""))
        code = code if re.fullmatch(r"[a-z_]{1,50}", code) else "no reason given"
        if code == "invalid_grant":
            why = "it was revoked, has expired, or was issued to another client"
        else:
            why = "see the OAuth client, and what it may do, in the Cloud project"
        return SourceUnusable(
            f"Google refuses the {self._what} of {self._where} ({code}): {why}; store another and retry the job: "
            f"{self._how_to_store}"
        )


class RefreshToken(Refreshed):
    """A refresh token with its OAuth client's id and secret. It has the scopes it was issued with."""

    def __init__(
        self, refresh: str, client: tuple[str, str], given: str | None, endpoint: str, where: str, how_to_store: str
    ) -> None:
        client_id, client_secret = client
        own = credentials.Credentials(  # type: ignore[no-untyped-call]
            None, refresh_token=refresh, token_uri=endpoint, client_id=client_id, client_secret=client_secret
        )
        super().__init__(own, given, where, how_to_store, "refresh_token")


class ServiceAccount(Refreshed):
    """A service account's key, for itself or for the `subject` whom it may stand in for. Raises `SourceUnusable`."""

    def __init__(
        self, key: str, subject: str | None, given: str | None, endpoint: str, where: str, how_to_store: str
    ) -> None:
        try:
            found = json.loads(key)
            # Only what is a key: its addresses are whatever the sender wrote.
            info = {name: found[name] for name in _KEY_FIELDS if name in found} | {"token_uri": endpoint}
            make = service_account.Credentials.from_service_account_info
            own = make(info, scopes=[SCOPE], subject=subject)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, GoogleAuthError):
            raise SourceUnusable(
                f"the service_account of {where} is not the JSON of a service account's key, as the Cloud console gives it; "
                f"store it again and retry the job: {how_to_store} service_account"
            ) from None
        super().__init__(own, given, where, how_to_store, "service_account")
