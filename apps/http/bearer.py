"""The bearer token of a request, read alike by whoever needs it: who asks, and whose rate it counts against."""

from __future__ import annotations

from collections.abc import Sequence


def bearer(given: Sequence[str]) -> str | None:
    """The token in the `Authorization` headers of a request; None for several of them, another scheme, or no token."""
    if len(given) != 1:
        return None
    scheme, _, secret = given[0].partition(" ")
    return (secret.strip(" ") or None) if scheme.lower() == "bearer" else None
