"""Whether the kernel ran out of memory, from the files of either kind of control group."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.memory import OutOfMemory


@pytest.mark.parametrize(
    ("own", "file", "text"),
    [
        ("0::/jobs\n", "jobs/memory.events", "low 0\noom 1\noom_kill {}\n"),
        ("4:memory:/jobs\n0::/\n", "memory/jobs/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"),
    ],
)
def test_a_kill_is_seen_once_when_the_counter_rises(tmp_path: Path, own: str, file: str, text: str) -> None:
    (tmp_path / "own").write_text(own)
    counter = tmp_path / file
    counter.parent.mkdir(parents=True, exist_ok=True)
    counter.write_text(text.format(2))
    watch = OutOfMemory(tmp_path / "own", tmp_path)
    assert not watch.happened()
    counter.write_text(text.format(3))
    assert watch.happened()
    assert not watch.happened()


def test_where_there_is_no_counter_nothing_ever_happened(tmp_path: Path) -> None:
    assert not OutOfMemory(tmp_path / "missing", tmp_path).happened()
