"""Handlers are found by their written name, and a missing one is told with what may have been meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workers import handlers
from workers import HandlerProblem, resolve


def test_a_function_is_found_by_module_and_name() -> None:
    assert resolve("tests.workers.handlers:quick") is handlers.quick


def test_a_missing_function_is_told_with_those_there_are() -> None:
    with pytest.raises(HandlerProblem, match=r"tests.workers.handlers has no function 'quik'") as caught:
        resolve("tests.workers.handlers:quik")
    assert "quick" in caught.value.candidates
    assert "_wait_for" not in caught.value.candidates
    assert caught.value.target == "tests.workers.handlers:quik"


@pytest.mark.parametrize("target", ["tests.workers.handlers", "tests.workers.handlers:", "tests.workers.handlers:NOTE.x"])
def test_a_name_that_is_no_function_is_refused(target: str) -> None:
    with pytest.raises(HandlerProblem):
        resolve(target)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_whatever_importing_raises_is_told_as_the_handlers_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, complaint: str
) -> None:
    name = f"handler_module_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HandlerProblem, match=f"importing {name} failed: {complaint}"):
        resolve(f"{name}:run")


@pytest.mark.parametrize("target", ["", ":", ":run", "no.such.module:run", "..:run"])
def test_nonsense_is_refused(target: str) -> None:
    with pytest.raises(HandlerProblem):
        resolve(target)
