"""Where a source's access token comes from; the token itself is shown, logged and stored nowhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

from .source import SourceUnusable


class Credential(Protocol):
    """Something that knows an access token."""

    def token(self, refused: str | None = None) -> str:
        """The token to use now; not the `refused` one. Raises `SourceUnusable` when there is no other."""


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


def credential_for(program_name: str, settings: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Credential:
    """The credential that a program's settings refer to. Raises `SourceUnusable` if they name none."""
    variable = settings.get("access_token_env")
    if not isinstance(variable, str) or not variable:
        raise SourceUnusable(
            f"program {program_name!r} names no credential for Google Drive; write the name of an environment variable that "
            "holds an access token into its settings: access_token_env: NAME"
        )
    return EnvironmentCredential(variable, environment)
