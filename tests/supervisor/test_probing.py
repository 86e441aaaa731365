"""What importing handler modules in throw-away children finds out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support import REPOSITORY

PROBE = """
import json, select, sys
from dataclasses import asdict
from supervisor.children import Nursery
from supervisor.probing import preload, probe
from workers import HandlerSpec
specs = [HandlerSpec(str(n), target) for n, target in enumerate(sys.argv[1:])]
wait = lambda out: select.select([each.descriptor for each in out], [], [], 0.2)
findings = probe(specs, Nursery(), wait, within=1.0)
before = {spec.target.partition(":")[0] for spec in specs} & set(sys.modules)
preload(findings)
print(json.dumps(asdict(findings) | {"before": sorted(before), "loaded": sorted(set(findings.fit) & set(sys.modules))}))
"""


def findings(folder: Path, *targets: str, **modules: str) -> Any:
    """Probe these targets after writing these modules."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    environment = {"PYTHONPATH": f"{REPOSITORY}:{folder}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *targets], capture_output=True, text=True, timeout=30, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_fit_module_is_imported_before_forking_and_only_after_it_was_tried(tmp_path: Path) -> None:
    found = findings(tmp_path, "decent:run", decent="def run(ctx): pass")
    assert (found["fit"], found["unfit"], found["unusable"]) == (["decent"], {}, [])
    assert (found["before"], found["loaded"]) == ([], ["decent"])


def test_threads_and_sockets_left_behind_make_a_module_unfit_but_not_unusable(tmp_path: Path) -> None:
    shared = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    found = findings(
        tmp_path, "first:run", "second:run", "wired:run", shared=shared,
        first="import shared\ndef run(ctx): pass", second="import shared\ndef run(ctx): pass",
        wired="import socket\nkept = socket.socket()\ndef run(ctx): pass",
    )
    assert found["fit"] == found["unusable"] == []
    assert found["unfit"] == {
        "first": "importing it leaves 1 threads and 0 sockets",
        "second": "importing it leaves 1 threads and 0 sockets",
        "wired": "importing it leaves 0 threads and 1 sockets",
    }


def test_a_missing_function_names_those_that_are_there(tmp_path: Path) -> None:
    found = findings(tmp_path, "decent:rum", "decent:run", decent="def run(ctx): pass\nnumber = 3")
    [unusable] = found["unusable"]
    assert unusable["job_type"] == "0"
    assert unusable["candidates"] == ["run"]


def test_a_module_that_ends_or_hangs_the_process_is_unusable_and_hides_no_other(tmp_path: Path) -> None:
    found = findings(
        tmp_path, "leaves:run", "hangs:run", "decent:run", leaves="import os; os._exit(0)",
        hangs="import time; time.sleep(60)", decent="def run(ctx): pass",
    )
    assert {each["message"] for each in found["unusable"]} == {
        "importing leaves ended the process with exit code 0", "importing hangs took longer than 1 s"
    }
    assert found["fit"] == ["decent"]
