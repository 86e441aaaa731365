"""Searches of the model by Spin: which faults are in it, what was found, how many states there were."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).with_name("lease.pml")
FAULTS = (
    "CRASHES", "STOPS", "LOST_ANSWERS", "FAILURES", "VANISHINGS", "FREEZES", "LATE_HEARTBEATS", "RETRIES",
)
"""What may befall the protocol; a search says how often each may."""

GUARDS = {
    "WITHOUT_FENCE": ("FREEZES", "G6"), "WITHOUT_NONCE": ("LOST_ANSWERS", "G5"),
    "WITHOUT_SELF_FENCING": ("LATE_HEARTBEATS", "G8"), "WITHOUT_MARGIN": ("LATE_HEARTBEATS", "G8"),
}
"""Guards that a variant of the model leaves out, each with the fault that must break it then, and the promise that breaks."""

MEGABYTES = 12_000


@dataclass(frozen=True, slots=True)
class Finding:
    """`broken` is the assertion that failed, about `promise`; both are empty when all of `states` were looked at and none did."""

    states: int
    promise: str
    broken: str
    seconds: float
    complete: bool


def missing_programs() -> list[str]:
    """What must be installed for a search and is not."""
    return [program for program in ("spin", "gcc") if shutil.which(program) is None]


ANY = "ONE_OF_ALL"
"""Stands for any one of the faults, whichever Spin chooses."""


def search(faults: Iterable[str] = (), without: str = "", only: str = "", optimized: int = 2) -> Finding:
    """Look at every state that the protocol can reach when each of these faults may happen once.

    `only`: the promise that is looked at; all when there is none.
    `optimized`: how far gcc goes for a fast search; beyond a million states 2 pays, and below it takes longer than it saves.
    """
    defines = [f"-D{fault}=1" for fault in faults] + ([f"-D{without}"] if without else [])
    defines += [f"-DONLY={only.removeprefix('G')}"] if only else []
    with tempfile.TemporaryDirectory(prefix="jobqueue-model-") as folder:
        _call(["spin", "-a", *defines, str(MODEL)], folder)
        _call(["gcc", f"-O{optimized}", "-w", "-DCOLLAPSE", "-DSAFETY", f"-DMEMLIM={MEGABYTES}", "-o", "pan", "pan.c"], folder)
        return _understand(_call(["./pan", "-m1000000", "-w24"], folder))


def _call(command: list[str], folder: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode and command[0] != "./pan":
        raise RuntimeError(f"{' '.join(command[:2])} failed: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def _understand(output: str) -> Finding:
    states = re.search(r"(\d+) states, stored", output)
    seconds = re.search(r"elapsed time ([\d.e+]+)", output)
    if states is None or seconds is None:
        raise RuntimeError(f"Spin said something unexpected: {output}")
    broken = re.search(r"pan:1: (.*)", output)
    promise = re.search(r"pan:1: assertion violated \(+(\d)&&", output)
    complete = "Search not completed" not in output and "max search depth too small" not in output
    return Finding(
        int(states[1]), f"G{promise[1]}" if promise else "", broken[1] if broken else "", float(seconds[1]), complete
    )
