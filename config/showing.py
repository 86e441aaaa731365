"""The settings as they are in force, each with its source and without its secrets."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any, NamedTuple

from .durations import format_duration
from .fields import is_duration, values
from .loading import Loaded
from .masking import MASK, is_secret, mask
from .tree import Path, dotted


class Shown(NamedTuple):
    """One setting: `value` is JSON (durations as text such as `1h30m`), `source` says where it was written."""

    key: str
    value: Any
    source: str


def show(loaded: Loaded) -> list[Shown]:
    """Every setting in the order of the documentation. Passwords in URLs and values of secret keys are masked."""
    return [
        Shown(dotted(path), _shown(path, value, is_duration(field)), str(loaded.sources[dotted(path)]))
        for path, value, field in values(loaded.settings)
    ]


def _shown(path: Path, value: Any, duration: bool) -> Any:
    named_by_people = 2 if path[0] == "job_types" else 0
    if value is not None and any(is_secret(str(key)) for key in path[named_by_people:]):
        return MASK
    if duration and isinstance(value, float):
        return format_duration(value)
    return _without_passwords(value)


def _without_passwords(value: Any) -> Any:
    if isinstance(value, str | FilePath):
        return mask(str(value))
    if isinstance(value, tuple):
        return [_without_passwords(item) for item in value]
    if isinstance(value, dict):
        return {key: MASK if is_secret(key) else _without_passwords(item) for key, item in value.items()}
    return value
