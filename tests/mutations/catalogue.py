"""The catalogue of guards: what each patch removes, which promise that breaks, and which tests must say so."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Mutation:
    """One guard without which `promise` is broken. `on`: the databases on which that must be noticed; empty: it needs none.

    `caught_by` holds, by the id of each test that must fail, the words with which its failure names what is broken, as a regular
    expression; `{database}` in an id stands for each of `on`.
    """

    name: str
    guard: str
    promise: str
    on: tuple[str, ...]
    caught_by: dict[str, str]

    @property
    def must_fail(self) -> dict[str, str]:
        """By the id of each test that must fail, its words."""
        return {
            test.replace("{database}", database): words
            for test, words in self.caught_by.items()
            for database in self.on or ("",)
        }

    @property
    def patch(self) -> str:
        """The unified diff that removes the guard."""
        return (HERE / f"{self.name}.patch").read_text()


def catalogue() -> dict[str, Mutation]:
    """All of them by name, in the order of `catalogue.toml`."""
    found = tomllib.loads((HERE / "catalogue.toml").read_text())
    return {name: Mutation(name, **(each | {"on": tuple(each["on"])})) for name, each in found.items()}


class DoesNotApply(Exception):
    """The lines that a patch changes are not in their file, or stand there more than once."""


def mutate(root: Path, patch: str) -> None:
    """Apply a unified diff to the files below `root`: each hunk where its lines stand, whatever their numbers.

    Raises `DoesNotApply`, and then some hunks may be applied.
    """
    file = root
    for line, hunk in _hunks(patch):
        if line.startswith("+++ "):
            file = root / line.removeprefix("+++ b/").strip()
            continue
        before = "".join(each[1:] for each in hunk if each[0] in " -")
        after = "".join(each[1:] for each in hunk if each[0] in " +")
        text = file.read_text()
        places = [each.start() for each in re.finditer(f"^{re.escape(before)}", text, re.MULTILINE)]
        if len(places) != 1:
            raise DoesNotApply(f"{file.relative_to(root)} has these lines {len(places)} times:\n{before}")
        file.write_text(text[: places[0]] + after + text[places[0] + len(before) :])


def _hunks(patch: str) -> list[tuple[str, list[str]]]:
    """The headers of files and hunks, in order, each with the lines that follow it."""
    found: list[tuple[str, list[str]]] = []
    for line in patch.splitlines(keepends=True):
        if line.startswith(("+++ ", "@@")):
            found.append((line, []))
        elif found and line[0] in " +-" and not line.startswith("--- "):
            found[-1][1].append(line)
    return found
