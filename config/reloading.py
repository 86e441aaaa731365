"""Which settings take effect at a reload (`supervisor reload`, SIGHUP), and which need a restart."""

from __future__ import annotations

import re

from .fields import values
from .settings import Settings
from .tree import dotted

RELOADABLE = (
    "workers.count",
    "poll_interval",
    "shutdown_timeout",
    "retry.*",
    "job_types.<name>.timeout",
    "job_types.<name>.retry",
    "logging.level",
    "retention.*",
    "supervision.*",
)
"""Keys that a reload applies, as the documentation writes them. All others need a restart."""

_PATTERN = re.compile(
    "|".join(
        re.escape(key).replace(r"\*", ".+").replace("<name>", r"(?:<name>|.+)") + ("(?:[.].+)?" if "<" in key else "")
        for key in RELOADABLE
    )
)


def is_reloadable(key: str) -> bool:
    """Whether a reload applies this key, written as in the documentation or as in the settings."""
    return _PATTERN.fullmatch(key) is not None


def needs_restart(running: Settings, wanted: Settings) -> tuple[str, ...]:
    """The keys that differ between the two and take effect only after a restart."""
    before = {dotted(path): value for path, value, _ in values(running)}
    after = {dotted(path): value for path, value, _ in values(wanted)}
    changed = [key for key in before | after if (key in before, before.get(key)) != (key in after, after.get(key))]
    return tuple(key for key in changed if not is_reloadable(key))
