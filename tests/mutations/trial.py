"""One trial: a copy of the project without one guard, in which the tests that must notice are run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml
from dataclasses import dataclass
from pathlib import Path

from tests.support import REPOSITORY

from .catalogue import DoesNotApply, Mutation, mutate

LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "*.db*", "build", "dist")
BY_ASSERTION = ("AssertionError", "assert ")
"""How the failure of an assertion begins; whatever else a test ends with tells of an accident, or names no promise."""

RAN = (0, 1)
"""What pytest leaves with when it ran all that it was asked for."""

LONGEST = 600.0
"""Seconds that the tests of one trial may take."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One test that did not pass, with the error that ended it."""

    test: str
    words: str
    by_assertion: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trial came to: `is_caught` only if every test that must notice did, on every database, in the right words."""

    mutation: Mutation
    is_caught: bool
    words: str
    seconds: float


def attempt(mutation: Mutation) -> Verdict:
    """Remove the guard in a copy of the project, run the tests named, and judge what they said."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy = Path(folder) / "project"
        shutil.copytree(REPOSITORY, copy, ignore=LEFT_OUT, symlinks=True)
        try:
            mutate(copy, mutation.patch)
        except DoesNotApply as error:
            return Verdict(mutation, False, f"does not apply: {error}", time.monotonic() - began)
        failures = _failures(copy, mutation)
    problem = judge(mutation, failures)
    words = problem or "caught by " + "; ".join(f"{test} with {words!r}" for test, words in mutation.must_fail.items())
    return Verdict(mutation, not problem, words, time.monotonic() - began)


def judge(mutation: Mutation, failures: list[Failure]) -> str:
    """Why this is no catch; empty when each test that must notice did, on every database, and named what is broken."""
    for test, words in mutation.must_fail.items():
        found = [each for each in failures if each.test == test]
        if not found:
            return f"survived {test}"
        if not any(each.by_assertion and re.search(words, each.words) for each in found):
            return f"caught for the wrong reason by {test}, not with {words!r}: {found[0].words[:400]}"
    return ""


def _failures(copy: Path, mutation: Mutation) -> list[Failure]:
    report = copy / "report.xml"
    own = {"PYTHONPATH": str(copy), "JOBQUEUE_TEST_BACKENDS": ",".join(mutation.on) or "sqlite"}
    quietly = ("-q", "-o", "addopts=", "-p", "no:cacheprovider", f"--junitxml={report}")
    command = [sys.executable, "-m", "pytest", *quietly, *mutation.must_fail]
    try:
        process = subprocess.run(
            command, cwd=copy, env={**os.environ, **own}, capture_output=True, text=True, timeout=LONGEST, check=False
        )
        ran, said = process.returncode in RAN, process.stdout[-400:] + process.stderr[-400:]
    except subprocess.TimeoutExpired:
        ran, said = False, f"the tests did not end within {LONGEST:g} s"
    if not ran:
        return [Failure(test, said, False) for test in mutation.must_fail]
    return [_failure(case, each) for case in xml.parse(report).iter("testcase") for each in case if each.tag in _FAILED]


_FAILED = ("failure", "error")


def _failure(case: xml.Element, found: xml.Element) -> Failure:
    test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
    words = found.get("message", "")
    return Failure(test, words, found.tag == "failure" and words.startswith(BY_ASSERTION))
