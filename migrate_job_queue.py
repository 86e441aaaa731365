"""Bring any database to the schema of this release: `python migrate_job_queue.py [--dry-run] [-c jobqueue.yaml]`."""

from __future__ import annotations

import sys

from supervisor.main import prepare


def main() -> int:
    """Check whose packages these are, then migrate; returns the exit code."""
    if refused := prepare():
        return refused
    from supervisor.commands.migration import main as migrate

    return migrate()


if __name__ == "__main__":
    sys.exit(main())
