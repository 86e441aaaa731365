"""Every command of the page for troubleshooting does what it says, on a copy of the repository with jobs in every state."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from backends import NewJob, Queue
from tests.markdown import blocks
from tests.support import REPOSITORY, eventually
from tests.test_readme import API, Clone, clone

PAGE = REPOSITORY / "docs" / "troubleshooting.md"

__all__ = ["clone"]


def test_every_command_of_the_page_can_be_typed_as_it_stands(clone: Clone) -> None:
    clone.start("supervisor start -c jobqueue.yaml")
    clone.completes(1)
    clone.queue.enqueue([NewJob("nobody serves this", 1), NewJob("full_scan", 404)])
    eventually(lambda: clone.job(3).status == "failed", within=30)
    for script in blocks(PAGE, "sh"):
        address = eventually(lambda: clone.api, within=20)
        done = clone.run(script.replace(API, address), code=None)
        assert done.returncode in (0, 1, 5), (script, done)
        for answer in re.findall(r'\{"queue".*?\}(?=\{"ready"|$)', done.stdout, re.MULTILINE):
            assert json.loads(answer)["is_processor_running"] is True
    assert clone.drain() == 0


@pytest.fixture
def indented() -> list[str]:
    """The commands that stand inside of lists, which the fences of a page hide."""
    return re.findall(r"^ +```sh\n(.*?)^ +```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_commands_inside_of_lists_can_be_typed_too(clone: Clone, indented: list[str]) -> None:
    clone.start("supervisor start -c jobqueue.yaml")
    clone.completes(1)
    assert len(indented) == PAGE.read_text(encoding="utf-8").count("```sh") - len(blocks(PAGE, "sh"))
    for script in indented:
        address = eventually(lambda: clone.api, within=20)
        clone.run(script.replace(API, address))
    assert clone.drain() == 0


@pytest.mark.parametrize("backend", [each for each in ("postgresql",) if each in os.environ.get("JOBQUEUE_TEST_BACKENDS", each)])
def test_the_statement_shows_who_holds_a_transaction_open(engine: Engine, backend: str) -> None:
    with Queue(engine).engine.connect() as holder, engine.connect() as looking:
        holder.execute(text("SELECT 1"))
        rows = looking.execute(text(blocks(PAGE, "sql")[0])).mappings().all()
    assert any(row["state"] == "idle in transaction" and row["application_name"] == "jobqueue" for row in rows)


def test_the_runbooks_of_the_alerts_lead_to_headings(tmp_path: Path) -> None:
    from tests.markdown import anchors

    rules = (REPOSITORY / "deploy" / "prometheus" / "alerts.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"troubleshooting\.md#([\w-]+)", rules))
    assert named
    assert named <= anchors(PAGE)
