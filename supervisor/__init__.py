"""How many processes live, and what becomes of what the dead held.

`run` supervises in the foreground; `running_pid` and `read_status` tell others about the supervisor of a run directory.
"""

from .rundir import read_status, running_pid
from .starting import ProblemAtStart, run

__all__ = ["ProblemAtStart", "read_status", "run", "running_pid"]
