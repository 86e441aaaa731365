"""The names of log events: those in the code are those in docs/logs.md."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.events import Event
from tests.support import REPOSITORY
from workers.worker import ENDED

PACKAGES = ("apps", "workers", "supervisor", "backends", "config")
LEVELS = ("debug", "info", "warning", "error", "exception", "critical", "log")
NAME = re.compile(r"[a-z_]+\.[a-z_]+")


def every_event() -> list[type[Event]]:
    """One class for each name: a dataclass with slots leaves the class behind that it was made from."""
    return list({kind.name: kind for kind in Event.__subclasses__()}.values())


def keys_of(kind: type[Event]) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def logged_literally() -> Iterator[str]:
    """The dotted names given to log calls anywhere in the code."""
    for package in PACKAGES:
        for module in (REPOSITORY / package).rglob("*.py"):
            yield from _in(module)


def _in(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            for given in node.args[:2]:
                if isinstance(given, ast.Constant) and isinstance(given.value, str) and NAME.fullmatch(given.value):
                    yield given.value


def in_the_code() -> set[str]:
    return {kind.name for kind in every_event()} | set(ENDED.values()) | set(logged_literally())


def documented() -> dict[str, str]:
    """Name to the keys beside it, from the tables of the page."""
    page = (REPOSITORY / "docs/logs.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|[^|]*\|([^|]*)\|", page, re.MULTILINE))


def test_every_event_in_the_code_is_in_the_page_about_logs() -> None:
    missing = in_the_code() - documented().keys()
    assert not missing, f"add to the tables of docs/logs.md: {sorted(missing)}"


def test_every_event_in_the_page_about_logs_is_in_the_code() -> None:
    gone = documented().keys() - in_the_code()
    assert not gone, f"take out of docs/logs.md: {sorted(gone)}"


@pytest.mark.parametrize("kind", every_event(), ids=lambda kind: kind.__name__)
def test_the_keys_of_an_event_of_the_supervisor_are_those_in_the_page(kind: type[Event]) -> None:
    keys = re.findall(r"`(\w+)`", documented()[kind.name])
    assert sorted(keys) == sorted(keys_of(kind))


def test_whatever_is_told_of_a_job_says_which_attempt_and_which_worker() -> None:
    for kind in every_event():
        if "job_id" in keys_of(kind):
            assert {"attempt", "process_id", "pid"} <= keys_of(kind), kind.name
