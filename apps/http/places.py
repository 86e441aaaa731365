"""Where a request leads: below the prefix that a proxy may have put in front, and as its route spells it."""

from __future__ import annotations

from starlette.types import Scope

PROBES = frozenset({"/livez", "/readyz", "/metrics"})
"""Asked again and again: they count against nobody's rate, and what they are answered is logged at debug only."""


def is_probe(scope: Scope) -> bool:
    """Whether a request leads to a probe."""
    return str(scope["path"]).removeprefix(scope.get("root_path", "").rstrip("/")) in PROBES


def template_of(scope: Scope) -> str | None:
    """The path as its route spells it, for logs: without ids; None for what led nowhere, which may hold anything."""
    return getattr(scope.get("route"), "path_format", None)
