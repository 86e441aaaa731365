"""Run one supervisor with the configuration file named on the command line, as the command line would.

A second word names the file into which near-sighted workers note their near looks; without one they see as they do.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import config
import supervisor
from tests.audit import forbid_opening_databases
from tests.chaos.near import make_near_sighted
from tests.support import die_with_parent


def main() -> int:
    """Say what is wrong in plain words, and leave with the exit code that stands for it."""
    configuration, *notes = map(Path, sys.argv[1:])
    for each in notes:
        make_near_sighted(each)
    try:
        return supervisor.run(config.load(configuration))
    except supervisor.ProblemAtStart as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 78


if __name__ == "__main__":
    die_with_parent(signal.SIGTERM)
    forbid_opening_databases()
    sys.exit(main())
