"""What the operator said: `load` reads it, `Settings` holds it, `ConfigError` says everything that is wrong with it.

Command line, environment, file and defaults are laid over each other in this order of precedence, and every value
remembers where it came from. Nothing here imports a handler, opens a database or knows the other packages.
`set_up_logs` sends what a process logs where `logging:` says; what it needs is imported when it is first asked for,
because commands that log nothing must start at once.
"""

from typing import TYPE_CHECKING, Any

from .durations import BadDuration, format_duration, parse_duration
from .json_schema import schema
from .loading import Loaded, default_text, find_config, handler_problem, load
from .masking import mask
from .problems import CODES, ConfigError, Place, Problem, render
from .reloading import needs_restart
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
    "Place",
    "Problem",
    "Program",
    "RestartBackoff",
    "Retention",
    "Retry",
    "Settings",
    "Shown",
    "Source",
    "Supervision",
    "Workers",
    "default_text",
    "find_config",
    "format_duration",
    "handler_problem",
    "load",
    "mask",
    "needs_restart",
    "parse_duration",
    "render",
    "schema",
    "set_log_level",
    "set_up_logs",
    "show",
]


def __getattr__(name: str) -> Any:
    if name in ("set_log_level", "set_up_logs"):
        from . import logs

        return getattr(logs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
