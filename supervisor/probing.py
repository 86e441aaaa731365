"""Handler modules are imported in throw-away children first: what they leave behind decides who imports them in earnest."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers import HandlerProblem, HandlerSpec, boot_time, resolve

from .children import Nursery
from .errands import Errand, Tell

IMPORT_WITHIN = 10.0
"""Seconds that importing one handler module may take."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """A handler that cannot be used: its job type, why, and the names that may have been meant."""

    job_type: str
    message: str
    candidates: tuple[str, ...] = ()


@dataclass(slots=True)
class Findings:
    """What probing found: modules fit to be imported before forking, unfit ones with the reason, handlers of no use."""

    fit: list[str] = field(default_factory=list)
    unfit: dict[str, str] = field(default_factory=dict)
    unusable: list[Unusable] = field(default_factory=list)


def probe(
    specs: Sequence[HandlerSpec], nursery: Nursery, wait: Callable[[Sequence[Errand]], None], within: float = IMPORT_WITHIN
) -> Findings:
    """Import each handler module in a child of its own, all at once, and say what came of it.

    `wait` is called with the children still out, and returns when it is worth looking at them again.
    """
    modules: dict[str, list[HandlerSpec]] = {}
    for spec in specs:
        modules.setdefault(spec.target.partition(":")[0], []).append(spec)
    errands = {
        module: Errand(
            nursery, _importing(module, its), title=f"jobqueue: imports {module}", now=boot_time(), within=within
        )
        for module, its in modules.items()
    }
    while out := [errand for errand in errands.values() if errand.ended is None]:
        wait(out)
        for errand in out:
            errand.look(boot_time())
    findings = Findings()
    for module, errand in errands.items():
        _judge(findings, module, modules[module], errand)
    return findings


def preload(findings: Findings) -> None:
    """Import the fit modules here, once for all workers, and keep the collector's hands off what they share."""
    for module in findings.fit:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()


def _importing(module: str, specs: Sequence[HandlerSpec]) -> Callable[[Tell], int]:
    def work(tell: Tell) -> int:
        before = _sockets()
        for spec in specs:
            try:
                resolve(spec.target)
            except HandlerProblem as problem:
                tell({"job_type": spec.job_type, "message": problem.message, "candidates": list(problem.candidates)})
        tell({"threads": _threads() - 1, "sockets": len(_sockets() - before)})
        return 0

    return work


def _judge(findings: Findings, module: str, specs: Sequence[HandlerSpec], errand: Errand) -> None:
    left: dict[str, Any] | None = None
    for message in errand.messages:
        if "job_type" in message:
            findings.unusable.append(
                Unusable(message["job_type"], message["message"], tuple(message["candidates"]))
            )
        else:
            left = message
    if left is None:
        findings.unusable += [Unusable(spec.job_type, _how_it_failed(module, errand)) for spec in specs]
    elif left["threads"] or left["sockets"]:
        findings.unfit[module] = f"importing it leaves {left['threads']} threads and {left['sockets']} sockets"
    else:
        findings.fit.append(module)


def _how_it_failed(module: str, errand: Errand) -> str:
    if errand.out_of_time:
        return f"importing {module} took longer than {errand.within:g} s"
    return f"importing {module} ended the process with {errand.ended}"


def _threads() -> int:
    """Threads of this process, those of foreign libraries included."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def _sockets() -> set[str]:
    found = set()
    for entry in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):
            target = os.readlink(entry)
            if target.startswith("socket:"):
                found.add(target)
    return found
