"""The token endpoint: access tokens for refresh tokens (RFC 6749, section 6) and for signed assertions (RFC 7523)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import jwt

PATH = "/token"
AUDIENCE = "https://oauth2.googleapis.com/token"
ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass
class TokenEndpoint:
    """`clients`: secrets by client id. `refresh_tokens`: their users. `accounts`: public keys (PEM) by e-mail address.

    A service account acts for its subject, or for the user of its own address. `issued` are the tokens given out, `scopes`
    what was asked for with each.
    """

    clients: dict[str, str] = field(default_factory=dict)
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, str] = field(default_factory=dict)
    issued: dict[str, str] = field(default_factory=dict)
    scopes: list[str] = field(default_factory=list)
    count: int = 0

    def answer(self, form: dict[str, str]) -> tuple[int, bytes]:
        """Status and body for a request."""
        try:
            user, scope = self._by_assertion(form) if form.get("grant_type") == ASSERTION else self._by_refresh_token(form)
        except Refused as error:
            return 400, json.dumps({"error": str(error), "error_description": "Bad Request"}).encode()
        self.count += 1
        token = f"ya29.issued-{self.count}"
        self.issued[token] = user
        self.scopes.append(scope)
        return 200, json.dumps({"access_token": token, "expires_in": 3599, "token_type": "Bearer", "scope": scope}).encode()

    def _by_refresh_token(self, form: dict[str, str]) -> tuple[str, str]:
        if form.get("grant_type") != "refresh_token":
            raise Refused("unsupported_grant_type")
        if self.clients.get(form.get("client_id", "")) != form.get("client_secret"):
            raise Refused("invalid_client")
        if form.get("refresh_token") not in self.refresh_tokens:
            raise Refused("invalid_grant")
        return self.refresh_tokens[form["refresh_token"]], form.get("scope", "")

    def _by_assertion(self, form: dict[str, str]) -> tuple[str, str]:
        claims: dict[str, Any] = jwt.decode(form["assertion"], options={"verify_signature": False})
        key = self.accounts.get(claims.get("iss", ""))
        try:
            jwt.decode(form["assertion"], key or "", algorithms=["RS256"], audience=AUDIENCE)
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Refused("invalid_grant") from None
        return str(claims.get("sub") or claims["iss"]), str(claims["scope"])


class Refused(Exception):
    """The code of an OAuth error."""
