"""Whatever a file holds, loading it gives settings or a complaint, never anything else."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from config import ConfigError, Loaded, Problem, load, render, show

from .support import NO_ENVIRONMENT

WORDS = ["workers", "count", "retry", "max", "job_types", "a", "handler", "m:f", "lane", "programs", "id", "database_url",
         "process_ids", "logging", "file", "sqlite:///x", "1h", "12:30", "-1", "1e999", "null", "x-a", "settings"]  # fmt: skip
MARKS = [": ", ":\n  ", "\n", "- ", "{", "}", "[", "]", ", ", "&a ", "*a", "<<", "${", "}", "$$", "'", '"', "!!", "|", ">", "#",
         "* * * * *", "\t", "\\", "? ", "---", "%", "@", "\x85", "\ufeff", "\0"]  # fmt: skip

near_yaml = st.lists(st.sampled_from(WORDS + MARKS) | st.text(max_size=3), max_size=25).map("".join)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=8)
near_settings = st.dictionaries(
    st.sampled_from(WORDS), st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(WORDS), inner, max_size=4)), max_size=5
).map(repr)  # fmt: skip


def loaded_or_refused(path: Path) -> Loaded | tuple[Problem, ...]:
    try:
        return load(path, environment=NO_ENVIRONMENT)
    except ConfigError as error:
        return error.problems


@settings(max_examples=300, deadline=None)
@given(near_yaml | near_settings | st.text(max_size=60))
@example("a: &a [*a, *b]")
@example("job_types: {a: }\nworkers: ")
@example("%YAML 99999999999999999999.1\n---\na: 1")
@example('a: "\\UFFFFFFFF"')
@example("? &a [*a]\n: *a")
@example("<<: &a {<<: *a}")
@example("programs: [{id: 1, name: 2, folder: 3}, 5, [], {}]")
def test_any_text_is_loaded_or_refused(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "jobqueue.yaml")
        path.write_bytes(text.encode("utf-8", "replace"))
        outcome = loaded_or_refused(path)
    if isinstance(outcome, Loaded):
        assert show(outcome)
    else:
        assert render(outcome).endswith("The supervisor was not started.")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_loaded_or_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "jobqueue.yaml")
        path.write_bytes(data)
        assert loaded_or_refused(path)
