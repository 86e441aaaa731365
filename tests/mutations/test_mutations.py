"""The catalogue of guards fits the project as it is: each patch applies, and each test that must notice exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.support import REPOSITORY

from .catalogue import HERE, DoesNotApply, Mutation, catalogue, mutate
from .trial import Failure, attempt, judge

MUTATIONS = catalogue()
NO_NAME = re.compile("DID NOT RAISE| said |not within|Error|Lost|_")
"""Parts of what is said where a test finds only that something is not so, or did not happen: such words name no promise."""


def test_every_patch_is_in_the_catalogue_and_every_entry_has_its_patch() -> None:
    assert {path.stem for path in HERE.glob("*.patch")} == set(MUTATIONS)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_patch_removes_its_guard_from_the_sources_as_they_are(name: str, tmp_path: Path) -> None:
    changed = re.findall(r"^\+\+\+ b/(\S+)", MUTATIONS[name].patch, re.MULTILINE)
    before = {each: (REPOSITORY / each).read_text() for each in changed}
    for each, text in before.items():
        (tmp_path / each).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / each).write_text(text)
    mutate(tmp_path, MUTATIONS[name].patch)
    for each, text in before.items():
        assert (tmp_path / each).read_text() != text
        ast.parse((tmp_path / each).read_text(), each)


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_tests_that_must_notice_exist_and_name_what_is_broken(name: str) -> None:
    assert MUTATIONS[name].caught_by
    for test, words in MUTATIONS[name].caught_by.items():
        file, _, function = test.partition("[")[0].partition("::")
        assert function in functions_of(file), test
        re.compile(words)
        assert not NO_NAME.search(words), f"{words!r} does not say what is broken"


@cache
def functions_of(file: str) -> set[str]:
    """The names of the functions of a file of tests."""
    return {node.name for node in ast.parse((REPOSITORY / file).read_text()).body if isinstance(node, ast.FunctionDef)}


HUNK = "--- a/file.py\n+++ b/file.py\n@@ -7,3 +7,2 @@\n before\n-guard\n after\n"


def test_a_hunk_finds_its_lines_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("new\nnew\nbefore\nguard\nafter\n")
    mutate(tmp_path, HUNK)
    assert (tmp_path / "file.py").read_text() == "new\nnew\nbefore\nafter\n"


@pytest.mark.parametrize("text", ["before\nanother guard\nafter\n", "before\nguard\nafter\n" * 2])
def test_a_hunk_whose_lines_are_gone_or_stand_there_twice_does_not_apply(tmp_path: Path, text: str) -> None:
    (tmp_path / "file.py").write_text(text)
    with pytest.raises(DoesNotApply, match=r"file\.py has these lines [02] times"):
        mutate(tmp_path, HUNK)


def test_a_guard_that_is_removed_in_a_copy_of_the_project_is_noticed_there() -> None:
    assert attempt(MUTATIONS["sqlite_synchronous"]).words.startswith("caught by")


PLANTED = Mutation("planted", "a guard", "G6", ("sqlite", "postgresql"), {"test.py::test_it[{database}]": "the fence is open"})
NOTICED = [Failure(f"test.py::test_it[{each}]", "AssertionError: the fence is open", True) for each in PLANTED.on]


@pytest.mark.parametrize(
    ("failures", "verdict"),
    [
        (NOTICED, ""),
        (NOTICED[:1], "survived test.py::test_it[postgresql]"),
        ([NOTICED[0], Failure(NOTICED[1].test, "AssertionError: assert 1 == 2", True)], "caught for the wrong reason"),
        ([NOTICED[0], Failure(NOTICED[1].test, "ImportError: the fence is open", False)], "caught for the wrong reason"),
    ],
)
def test_only_an_assertion_that_names_what_is_broken_on_every_database_is_a_catch(
    failures: list[Failure], verdict: str
) -> None:
    said = judge(PLANTED, failures)
    assert said.startswith(verdict)
    assert bool(said) == bool(verdict)
