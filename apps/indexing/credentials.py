"""Where a scan's access token comes from; no secret is shown or logged, and none leaves but for Google's token endpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from backends import Owner

from .source import SourceUnusable

GOOGLES_TOKEN_ENDPOINT = "https://oauth2.googleapis.com/token"


class Credential(Protocol):
    """Something that knows an access token."""

    def token(self, refused: str | None = None) -> str:
        """The token to use now; not the `refused` one.

        Raises `SourceUnusable` when there is no other, `CoolDown` when there may be one later.
        """


class Secrets(Protocol):
    """How the secrets of a job, of its user and of its program are asked for: `ctx.secret`."""

    def __call__(self, name: str, of: Owner = Owner.JOB) -> str | None: ...


def no_secrets(name: str, of: Owner = Owner.JOB) -> str | None:
    """There are none."""
    return None


class EnvironmentCredential:
    """The access token that an environment variable of the worker holds."""

    def __init__(self, variable: str, environment: Mapping[str, str] = os.environ) -> None:
        self._variable, self._environment = variable, environment

    def token(self, refused: str | None = None) -> str:
        """The variable's value."""
        value = self._environment.get(self._variable, "").strip()
        if not value:
            raise SourceUnusable(
                f"the environment variable {self._variable} is not set for the workers, and the program's settings say that "
                "it holds the access token; set it and restart the supervisor"
            )
        if value == refused:
            raise SourceUnusable(
                f"Google Drive refused the access token in the environment variable {self._variable} (401): it has expired "
                "or was revoked; put a new one there and restart the supervisor"
            )
        return value


class AccessToken:
    """An access token that somebody handed over, without the means to get another."""

    def __init__(self, value: str, where: str, how_to_store: str) -> None:
        self._value, self._where, self._how_to_store = value, where, how_to_store

    def token(self, refused: str | None = None) -> str:
        """The token."""
        if self._value == refused:
            raise SourceUnusable(
                f"Google Drive refused the access token of {self._where} (401): it has expired or was revoked; store a new one "
                f"and retry the job: {self._how_to_store} access_token. A refresh token would be renewed by itself"
            )
        return self._value


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a scan knows of who may read: the program's `settings`, the job's `parameters`, ids, and how to ask for secrets."""

    program_name: str
    settings: Mapping[str, Any]
    secret: Secrets = no_secrets
    parameters: Mapping[str, Any] = field(default_factory=dict)
    ids: Mapping[Owner, int | None] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def credential(self) -> Credential:
        """That of the job, of its user, of the program, or the one in the environment: the first there is.

        Raises `SourceUnusable` if there is none, or if it is incomplete.
        """
        for owner in (Owner.JOB, Owner.USER, Owner.PROGRAM):
            found = self._of(owner)
            if found is not None:
                return found
        variable = self.settings.get("access_token_env")
        if isinstance(variable, str) and variable:
            return EnvironmentCredential(variable, self.environment)
        raise SourceUnusable(
            f"program {self.program_name!r} has no credential for Google Drive; store one: supervisor secrets set --program "
            f"{self.ids.get(Owner.PROGRAM, 'ID')} refresh_token (or service_account, or access_token), or name an environment "
            "variable that holds an access token in its settings: access_token_env: NAME"
        )

    def _of(self, owner: Owner) -> Credential | None:
        access, refresh = self.secret("access_token", owner), self.secret("refresh_token", owner)
        service_account = None if refresh else self.secret("service_account", owner)
        if refresh or service_account:
            # Imported late: the library takes a while, and an access token does not need it.
            from .oauth import RefreshToken, ServiceAccount

            where, endpoint = self._where(owner), self._token_endpoint()
            if refresh:
                client = self._client(owner)
                return RefreshToken(refresh, client, access, endpoint, where, self._how_to_store(owner))
            return ServiceAccount(service_account or "", self._subject(owner), access, endpoint, where, self._how_to_store(owner))
        return AccessToken(access, self._where(owner), self._how_to_store(owner)) if access else None

    def _client(self, owner: Owner) -> tuple[str, str]:
        """The OAuth client that the refresh token was issued to: its id and secret."""
        given = self.parameters.get("client_id") if owner is Owner.JOB else None
        client_id = given or self.secret("client_id", owner) or self.settings.get("client_id")
        client_secret = self.secret("client_secret", owner) or self.secret("client_secret", Owner.PROGRAM)
        if not isinstance(client_id, str) or not client_secret:
            raise SourceUnusable(
                f"the refresh token of {self._where(owner)} can only be used with the id and the secret of its OAuth client; "
                f"put client_id into the settings of program {self.program_name!r}, and store the other: "
                f"{self._how_to_store(owner)} client_secret"
            )
        return client_id, client_secret

    def _subject(self, owner: Owner) -> str | None:
        """Whom a service account stands in for. A job decides that for its own account only, never for the program's."""
        named = self.parameters.get("subject") if owner is Owner.JOB else self.settings.get("subject")
        return named if isinstance(named, str) and named else None

    def _token_endpoint(self) -> str:
        """From the program's settings, which its operators write; never from a key file that somebody handed over."""
        named = self.settings.get("token_uri", GOOGLES_TOKEN_ENDPOINT)
        if not isinstance(named, str) or not named.startswith(("https://", "http://")):
            raise SourceUnusable(f"settings.token_uri: {named!r} is not the address of a server; leave it out for Google's own")
        return named

    def _where(self, owner: Owner) -> str:
        return f"{owner.value} {self.ids.get(owner)}"

    def _how_to_store(self, owner: Owner) -> str:
        return f"supervisor secrets set --{owner.value} {self.ids.get(owner)}"
