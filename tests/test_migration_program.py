"""`migrate_job_queue.py` as an operator runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from backends import check, head, open_engine
from tests.backends.legacy_tables import make, rows
from tests.support import REPOSITORY


def migrate(folder: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a folder, on the database of `DATABASE_URL`."""
    (folder / "jobqueue.yaml").write_text("extensions: []\n")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("JOBQUEUE__")}
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "migrate_job_queue.py"), *arguments], cwd=folder,
        env=variables | {"DATABASE_URL": url}, capture_output=True, text=True, timeout=90, check=False,
    )


def test_the_program_takes_a_legacy_table_over_and_says_what_it_did(empty_database_url: str, tmp_path: Path) -> None:
    engine = open_engine(empty_database_url, journal="unchanged")
    make(engine, rows=30)
    engine.dispose()
    dry = migrate(tmp_path, empty_database_url, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "jobqueue_ready" in dry.stdout
    first, second = migrate(tmp_path, empty_database_url), migrate(tmp_path, empty_database_url)
    said = f"schema\t{head()}\tupgraded from legacy\njobs\t30 taken over\t12 pending\t6 completed\t6 failed\t6 cancelled\n"
    assert (first.returncode, first.stdout) == (0, said), first.stderr
    assert (second.returncode, second.stdout, second.stderr) == (0, f"schema\t{head()}\tunchanged\n", "")
    check(engine)
    assert len(rows(engine)) == 30
    engine.dispose()


def test_a_refusal_names_every_reason_and_what_to_do(empty_database_url: str, tmp_path: Path) -> None:
    engine = open_engine(empty_database_url, journal="unchanged")
    make(engine, rows=30, changes="""
        UPDATE indexing_jobs SET status = 'zombie' WHERE id = 3;
        UPDATE indexing_jobs SET status = 'lost' WHERE id = 6;
    """)
    engine.dispose()
    refused = migrate(tmp_path, empty_database_url)
    assert refused.returncode == 78
    assert refused.stderr == (
        "error[DB-LEGACY] table indexing_jobs cannot be taken over as it is, and nothing was changed:\n"
        "  - status 'lost' of some rows has no known meaning: say what it is, with --status 'lost'=failed\n"
        "  - status 'zombie' of some rows has no known meaning: say what it is, with --status 'zombie'=failed\n"
        "  Then: python migrate_job_queue.py\n"
    )
    done = migrate(tmp_path, empty_database_url, "--status", "zombie=failed", "--status", "lost=cancelled")
    assert done.returncode == 0, done.stderr


def test_a_mistyped_option_is_explained(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/none.db"
    for option, value, said in (("--timezone", "Mars/Base", "is no time zone"), ("--status", "a=b", "is not OLD=NEW")):
        refused = migrate(tmp_path, url, option, value)
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
        assert "Traceback" not in refused.stderr
    assert not (tmp_path / "none.db").exists()
