"""Run one job processor, a worker under its own supervisor: `python run_job_processor.py --process-id NAME --daemon`."""

from __future__ import annotations

import sys

from supervisor.main import prepare


def main() -> int:
    """Check whose packages these are, then process jobs; returns the exit code."""
    if refused := prepare():
        return refused
    from supervisor.commands.standalone import main as process

    return process()


if __name__ == "__main__":
    sys.exit(main())
