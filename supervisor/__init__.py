"""How many processes live, and what becomes of what the dead held.

`run` supervises in the foreground; `running_pid` and `read_status` tell others about the supervisor of a run directory,
and `restart_request` says to it what its next SIGTERM means.
What these need is imported when it is first asked for: the commands pass through here, and must start at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from config import read_status, running_pid

    from .rundir import AlreadyAsked, restart_request
    from .starting import ProblemAtStart, run

__all__ = ["AlreadyAsked", "ProblemAtStart", "read_status", "restart_request", "run", "running_pid"]

_HOMES = {"read_status": "config", "running_pid": "config", "AlreadyAsked": ".rundir", "restart_request": ".rundir"}


if not TYPE_CHECKING:  # a type checker would take every name for one that is here

    def __getattr__(name: str) -> Any:
        if name in __all__:
            return getattr(import_module(_HOMES.get(name, ".starting"), __name__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
