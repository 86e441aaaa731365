"""How many processes live, and what becomes of what the dead held.

`run` supervises in the foreground; `running_pid` and `read_status` tell others about the supervisor of a run directory,
and `restart_request` says to it what its next SIGTERM means.
What `run` needs is imported when it is first asked for: the commands pass through here, and must start at once.
"""

from typing import TYPE_CHECKING, Any

from .rundir import AlreadyAsked, read_status, restart_request, running_pid

if TYPE_CHECKING:
    from .starting import ProblemAtStart, run

__all__ = ["AlreadyAsked", "ProblemAtStart", "read_status", "restart_request", "run", "running_pid"]


def __getattr__(name: str) -> Any:
    if name in ("ProblemAtStart", "run"):
        from . import starting

        return getattr(starting, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
