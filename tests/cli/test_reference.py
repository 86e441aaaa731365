"""docs/commands.md says what the commands say."""

from __future__ import annotations

import re
from pathlib import Path

from supervisor.commands import checks, problems, reference

COMMANDS = Path(reference.__file__).parent


def ids_in_the_code(pattern: str) -> set[str]:
    source = "".join(path.read_text() for path in COMMANDS.glob("*.py"))
    return set(re.findall(pattern, source))


def test_the_page_is_up_to_date() -> None:
    assert reference.main(["--check"]) == 0


def test_every_error_of_a_command_is_documented() -> None:
    used = ids_in_the_code(r'Problem\(\s*"([A-Z-]+)"') | ids_in_the_code(r'usage\([^)]*"(BAD-[A-Z]+|JOB-TYPE)"\s*\)')
    assert used
    assert used <= set(problems.ERRORS)


def test_every_finding_is_documented() -> None:
    used = ids_in_the_code(r'Finding\(\s*"[a-z]+",\s*"([A-Z-]+)"')
    assert len(used) > 10
    assert used <= set(checks.FINDINGS)
