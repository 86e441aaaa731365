"""Process 1 of a namespace: starts a supervisor, collects the dead, and gives their numbers to strangers.

Run as `python -m tests.faults.pid_namespace CONFIG`; answers each line of JSON on standard input with one on standard output:
`["kill", pid, signal]`, `["stranger", pid]` (true once a process of its own session has that number), `["alive", pid]`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


def main() -> None:
    """Obey until nobody asks any more; whoever is left dies with this process."""
    subprocess.Popen([sys.executable, "-m", "tests.supervisor.run_one", sys.argv[1]], stdout=sys.stderr)
    print(json.dumps(True), flush=True)
    for line in sys.stdin:
        verb, pid, *more = json.loads(line)
        match verb:
            case "kill":
                os.kill(pid, *more)
                answer = True
            case "stranger":
                answer = _become_known_as(pid)
            case _:
                _collect()
                answer = Path(f"/proc/{pid}").exists()
        print(json.dumps(answer), flush=True)


def _collect() -> None:
    """Reap whoever is dead: only then is its number free."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _become_known_as(number: int) -> bool:
    over = time.monotonic() + 5
    while time.monotonic() < over:
        _collect()
        LAST_PID.write_text(str(number - 1))
        pid = os.fork()
        if pid == 0:
            os.setsid()
            signal.pause()
        if pid == number:
            return True
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return False


if __name__ == "__main__":
    main()
