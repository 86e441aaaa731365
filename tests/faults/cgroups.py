"""Control groups of the test's own, of either kind, where this user may make them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_LIMITS = (("memory", ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")), ("", ("memory.max", "memory.swap.max")))
"""Where a group with a limit of memory is made, first version and second, and the files of the limit and that of swap."""


@contextlib.contextmanager
def limited_memory(limit: int) -> Iterator[tuple[str, ...] | None]:
    """A command prefix that starts a program in a group of so many bytes; None where no such group can be made."""
    group = _make(limit)
    if group is None:
        yield None
        return
    try:
        yield "sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"
    finally:
        group.rmdir()


def _make(limit: int) -> Path | None:
    for controller, files in _LIMITS:
        group = _ROOT / controller / f"jobqueue-{uuid.uuid4().hex[:12]}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / files[0]).write_text(str(limit))
            with contextlib.suppress(OSError):  # a kernel that does not count swap
                (group / files[1]).write_text(str(limit if controller else 0))
        except OSError:
            group.rmdir()
            continue
        return group
    return None
