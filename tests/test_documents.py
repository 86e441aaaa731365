"""What the documents say of the code is what the code does."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from backends.diagram import state_diagram
from supervisor.commands.tree import EVERYWHERE, app
from tests.markdown import PAGES, anchors, blocks, commands, links
from tests.support import REPOSITORY

DOCS = REPOSITORY / "docs"


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_state_diagram_is_the_one_that_the_moves_give() -> None:
    text = (DOCS / "how-it-works.md").read_text(encoding="utf-8")
    between = text.split("<!-- state diagram: begin -->")[1].split("<!-- state diagram: end -->")[0]
    wanted = f"```mermaid\n{state_diagram()}\n```"
    assert between.strip() == wanted, f"put this between the markers in docs/how-it-works.md:\n{wanted}"


@pytest.mark.parametrize("number", range(len(blocks(DOCS / "handlers.md", "python"))))
def test_the_examples_for_handlers_can_be_imported(number: int) -> None:
    module: dict[str, Any] = {"__name__": f"example_{number}"}
    exec(compile(blocks(DOCS / "handlers.md", "python")[number], f"example {number}", "exec"), module)
    assert any(callable(each) for name, each in module.items() if name != "__builtins__")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_example_compiles(page: Path) -> None:
    for text in blocks(page, "python"):
        compile(text, name_of(page), "exec")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_is_named_exists_with_its_options(page: Path) -> None:
    for text in commands(page):
        unknown = unknown_words(text)
        assert not unknown, f"supervisor {text}: there is no {unknown}"


def unknown_words(text: str) -> list[str]:
    """The commands and options in it that the program does not have."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(re.sub(r"[\[\]|]", " ", text), comments=True)
    while words and hasattr(command, "commands"):
        word = words.pop(0)
        if word in EVERYWHERE:
            continue
        if word not in command.commands:
            return [word]
        command = command.commands[word]
    options = {option for each in command.params for option in each.opts} | {*EVERYWHERE, "--help"}
    return [word for word in words if word.startswith("-") and word not in options]


def test_the_commands_of_a_page_are_found_wherever_they_stand(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    shown = "```sh\n$ .venv/bin/supervisor status --json | jq\n```\n"
    page.write_text(f"Try `supervisor jobs why ID`.\n{shown}`supervisor/` is a folder\n")
    assert commands(page) == ["status --json", "jobs why ID"]
    assert unknown_words("jobs vanish 1") == ["vanish"]
    assert unknown_words("jobs why 1 --loud") == ["--loud"]


def test_the_changelog_has_the_version_of_the_package() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\n## [{version}]" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_decision_and_every_page_is_in_the_index() -> None:
    listed = set(links(DOCS / "README.md"))
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"README.md"}
    assert pages <= listed


@pytest.mark.parametrize(("page", "at_least"), [("specification.md", 80), ("guarantees.md", 20), ("fault-matrix.md", 60)])
def test_the_files_and_tests_that_a_page_names_exist(page: str, at_least: int) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/.]+\.py)(?:::(\w+))?`", text))
    assert len(named) > at_least
    for file, test in sorted(named):
        path = REPOSITORY / file
        assert path.exists(), file
        assert not test or re.search(rf"^def {test}\(", path.read_text(encoding="utf-8"), re.MULTILINE), f"{file}::{test}"


def test_every_statement_of_the_specification_has_a_place_and_a_test() -> None:
    text = (DOCS / "specification.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) > 50
    assert all(row.count("`") >= 4 or "see" in row for row in rows), "a statement without a place or a test"
