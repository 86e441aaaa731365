"""What the operator said: `load` reads it, `Settings` holds it, `ConfigError` says everything that is wrong with it.

Command line, environment, file and defaults are laid over each other in this order of precedence, and every value
remembers where it came from. Nothing here imports a handler, opens a database or knows the other packages.
`set_up_logs` sends what a process logs where `logging:` says; what it needs is imported when it is first asked for,
because commands that log nothing must start at once. The run directory, where the supervisor and those who steer, watch or
own it meet, is known here too: both `supervisor` and `apps` pass through it.
"""

from typing import TYPE_CHECKING, Any

from .durations import BadDuration, format_duration, parse_duration
from .json_schema import schema
from .layers import working_directory
from .loading import Loaded, default_text, find_config, handler_problem, load
from .masking import mask
from .ownership import Owners, Ownership, declare_owned, has_owner, is_owned
from .problems import CODES, ConfigError, Place, Problem, render
from .reloading import needs_restart
from .rundir import (
    PID_FILE,
    STATUS_FILE,
    SUPERVISED,
    Processing,
    is_resting,
    order_processing,
    pid_in_locked,
    processing_ordered,
    read_status,
    running_pid,
)
from .settings import (
    Api,
    CrashLimit,
    Database,
    Encryption,
    JobType,
    Jwt,
    Logging,
    Program,
    RestartBackoff,
    Retention,
    Retry,
    Settings,
    Supervision,
    Workers,
)
from .showing import Shown, show
from .tree import Source

if TYPE_CHECKING:
    from .logs import set_log_level, set_up_logs

__all__ = [
    "CODES",
    "PID_FILE",
    "STATUS_FILE",
    "SUPERVISED",
    "Api",
    "BadDuration",
    "ConfigError",
    "CrashLimit",
    "Database",
    "Encryption",
    "JobType",
    "Jwt",
    "Loaded",
    "Logging",
    "Owners",
    "Ownership",
    "Place",
    "Problem",
    "Processing",
    "Program",
    "RestartBackoff",
    "Retention",
    "Retry",
    "Settings",
    "Shown",
    "Source",
    "Supervision",
    "Workers",
    "declare_owned",
    "default_text",
    "find_config",
    "format_duration",
    "handler_problem",
    "has_owner",
    "is_owned",
    "is_resting",
    "load",
    "mask",
    "needs_restart",
    "order_processing",
    "parse_duration",
    "pid_in_locked",
    "processing_ordered",
    "read_status",
    "render",
    "running_pid",
    "schema",
    "set_log_level",
    "set_up_logs",
    "show",
    "working_directory",
]


if not TYPE_CHECKING:  # a type checker would take every name for one that is here

    def __getattr__(name: str) -> Any:
        if name in ("set_log_level", "set_up_logs"):
            from . import logs

            return getattr(logs, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
