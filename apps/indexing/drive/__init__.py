"""Google Drive as a source: the only place that imports the client library, which costs 40 MB, so import this late.

`open_drive` makes the source from a program's settings. `answers` says what each refusal of the server means, `calls` asks
again where that helps, `download` reads and verifies content, `entries` understands metadata, `files` is the source itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..credentials import Wanted
from ..source import ShouldStop
from .calls import Calls, Patience, endpoint_of
from .files import DriveSource

__all__ = ["Calls", "DriveSource", "Patience", "endpoint_of", "open_drive"]


def open_drive(folder: str | None, settings: Mapping[str, Any], wanted: Wanted, should_stop: ShouldStop) -> DriveSource:
    """The Drive folder of a program, read with the credential that is wanted.

    Settings: `endpoint` (default: Google's), `include_trashed`, and those of `credentials`. Raises `SourceUnusable` for what
    cannot be used, `CoolDown` when no token is to be had just now.
    """
    credential = wanted.credential()
    calls = Calls(credential, endpoint_of(settings.get("endpoint")), should_stop)
    return DriveSource(calls, folder, include_trashed=settings.get("include_trashed") is True)
