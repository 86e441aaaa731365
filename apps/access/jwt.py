"""Tokens that an identity provider signed: checked with its public keys, and good for users who are known already."""

from __future__ import annotations

import jwt

from config import Jwt

from .signing_keys import ASYMMETRIC, KeysUnavailable, SigningKeys
from .users import is_name

__all__ = ["IdentityProvider", "KeysUnavailable", "make_provider"]

LEEWAY = 10.0
"""Seconds by which the provider's clock may differ from ours."""

BROKEN = (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError)
"""What PyJWT raises for tokens and claims that are nonsense."""


class IdentityProvider:
    """The provider that the operator named. It says who somebody is; what they may do is said here."""

    def __init__(self, settings: Jwt, keys: SigningKeys) -> None:
        self._settings = settings
        self._keys = keys

    def subject_of(self, token: str) -> str | None:
        """Whom this token is about, when the provider made it, for us, and it has not expired.

        Raises `KeysUnavailable` when that cannot be told now.
        """
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            key = self._keys.find(key_id) if key_id else None
            subject = None if key is None else self._claims(token, key).get(self._settings.subject_claim)
        except BROKEN:
            return None
        return subject if isinstance(subject, str) and is_name(subject) else None

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, object]:
        return jwt.decode(
            token,
            key,
            algorithms=ASYMMETRIC,
            audience=self._settings.audience,
            issuer=self._settings.issuer,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
        )


def make_provider(settings: Jwt) -> IdentityProvider:
    """The provider of these settings, which name a `jwks_url`; nothing is fetched yet."""
    assert settings.jwks_url is not None
    return IdentityProvider(settings, SigningKeys(settings.jwks_url))
