"""Where a page ended, as an opaque text that clients hand back."""

from __future__ import annotations

import base64
import re

from .mistakes import Mistake
from .problems import Invalid

LONGEST = 100
_MARK = "before:"


def cursor_of(job_id: int | None) -> str | None:
    """The cursor of what comes after the job of this id, newest first; None when there is nothing."""
    if job_id is None:
        return None
    return base64.urlsafe_b64encode(f"{_MARK}{job_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str | None) -> int | None:
    """The id that `cursor_of` was given. Raises `Invalid` for what it never gave."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
        job_id = int(text.removeprefix(_MARK)) if re.fullmatch(_MARK + "[0-9]{1,19}", text) else 0
    except ValueError:
        job_id = 0
    if not 0 < job_id < 2**63 or cursor_of(job_id) != cursor:
        raise Invalid([Mistake("query.cursor", "is not a cursor of this list", "Send next_cursor as it came, or leave it out.")])
    return job_id
