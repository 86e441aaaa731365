"""Bring any database to the schema of this release: `python migrate_job_queue.py [--dry-run] [-c jobqueue.yaml]`."""

from __future__ import annotations

import sys

from supervisor.main import open_standard_streams, refuse_foreign_packages


def main() -> int:
    """Check whose packages these are, then migrate; returns the exit code."""
    open_standard_streams()
    if refused := refuse_foreign_packages():
        return refused
    from supervisor.commands.migration import main as migrate

    return migrate()


if __name__ == "__main__":
    sys.exit(main())
