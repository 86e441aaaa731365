"""What is derived from the settings: the reference page, the JSON Schema, and what a reload applies."""

from __future__ import annotations

import re
import subprocess
import sys

from config import needs_restart, schema
from config.fields import keys
from config.reloading import RELOADABLE, is_reloadable
from tests.support import REPOSITORY

from .support import Desk


def test_the_committed_page_and_schema_are_as_they_would_be_written() -> None:
    check = subprocess.run(
        [sys.executable, "-m", "config.reference", "--check"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")


def test_every_key_is_explained() -> None:
    assert [key.dotted for key in keys() if not key.field.description] == []


def test_the_page_names_every_code_that_the_sources_use() -> None:
    page = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    used = {
        code for source in (REPOSITORY / "config").glob("*.py") for code in re.findall(r"CFG-[A-Z-]+[A-Z]", source.read_text())
    }
    assert used
    assert {code for code in used if f"| `{code}` |" not in page} == set()


def test_the_schema_knows_short_forms_references_and_free_keys() -> None:
    whole = schema()
    assert whole["additionalProperties"] is False
    assert whole["patternProperties"] == {"^x-": {}}
    assert {"type": "integer", "minimum": 1} in whole["properties"]["workers"]["anyOf"]
    assert {"type": "string"} in whole["properties"]["job_types"]["additionalProperties"]["anyOf"]
    assert {"$ref": "#/$defs/Reference"} in whole["$defs"]["Api"]["properties"]["port"]["anyOf"]
    assert whole["properties"]["lock_timeout"]["default"] == "30s"
    assert "x-duration" not in str(whole)


def test_every_reloadable_key_exists() -> None:
    known = [key.dotted for key in keys()]
    for pattern in RELOADABLE:
        assert any(key == pattern or key.startswith(pattern.removesuffix("*")) for key in known), pattern


def test_a_change_is_sorted_into_reload_and_restart(desk: Desk) -> None:
    before = desk.settings("job_types: {a: 'm:f'}")
    after = desk.settings(
        "workers: 5\nretry: {max: 2h}\nlock_timeout: 1m\nlogging: {level: debug, file: x}\n"
        "job_types: {a: {handler: 'm:g', timeout: 1h}, b: {handler: 'm:f'}}\nprograms: [{id: 1, name: a, folder: b}]"
    )
    restart = set(needs_restart(before, after))
    assert {"lock_timeout", "logging.file", "job_types.a.handler", "job_types.b.handler", "programs[0].name"} <= restart
    assert not any(is_reloadable(key) for key in restart)
    assert needs_restart(before, before) == ()
