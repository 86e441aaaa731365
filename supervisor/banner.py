"""What a person at a terminal is told at start, in a few lines."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from config import Loaded, format_duration

from .plan import Identity


def banner(loaded: Loaded, identity: Identity, database: str, url: str) -> str:
    """Who runs, with which file, on which database, for which handlers, with how many workers, and where it answers."""
    settings = loaded.settings
    handlers = ", ".join(f"{name} -> {kind.handler}" for name, kind in settings.job_types.items()) or "none"
    workers = (
        f"{settings.workers.count}, poll {format_duration(settings.poll_interval)},"
        f" heartbeat {format_duration(settings.heartbeat_interval)}, lock timeout {format_duration(settings.lock_timeout)}"
    )
    return "\n".join(
        [
            f"jobqueue {_version()} · python {platform.python_version()} · pid {identity.pid}",
            f"  config    {loaded.path}{_from_environment(loaded)}",
            f"  database  {database}",
            f"  handlers  {handlers}",
            f"  workers   {workers}",
            *([f"  api       {url}"] if url else []),
        ]
    )


def _from_environment(loaded: Loaded) -> str:
    count = sum(1 for source in loaded.sources.values() if source.kind.name == "ENVIRONMENT")
    return f" ({count} from the environment)" if count else ""


def _version() -> str:
    try:
        return version("jobqueue")
    except PackageNotFoundError:
        return "(not installed)"
