"""Run one supervisor with the configuration file named on the command line, as the command line would."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import config
import supervisor
from tests.audit import forbid_opening_databases
from tests.support import die_with_parent


def main() -> int:
    """Say what is wrong in plain words, and leave with the exit code that stands for it."""
    try:
        return supervisor.run(config.load(Path(sys.argv[1])))
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
