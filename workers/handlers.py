"""Handlers are found by the name written in jobqueue.yaml, and by nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .context import JobContext

Handler = Callable[[JobContext], object]


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """A job type, where its handler is (`package.module:function`), and its deadline in seconds (None: none)."""

    job_type: str
    target: str
    timeout: float | None = None


class HandlerProblem(Exception):
    """A handler that cannot be found. `candidates` are names that may have been meant."""

    def __init__(self, target: str, message: str, candidates: Sequence[str] = ()) -> None:
        super().__init__(f"{target}: {message}")
        self.target, self.message, self.candidates = target, message, tuple(candidates)


def resolve(target: str) -> Handler:
    """Import `package.module:function`. Raises `HandlerProblem` for a missing module or function, whatever importing raised."""
    module_name, _, name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except BaseException as error:
        raise HandlerProblem(target, f"importing {module_name} failed: {type(error).__name__}: {error}") from error
    handler = getattr(module, name, None)
    if not callable(handler):
        callables = [each for each in dir(module) if not each.startswith("_") and callable(getattr(module, each))]
        raise HandlerProblem(target, f"module {module_name} has no function {name!r}", callables)
    return handler  # type: ignore[no-any-return]
