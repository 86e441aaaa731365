"""Whether the kernel killed a process of this control group for want of memory."""

from __future__ import annotations

from pathlib import Path

_V2 = "memory.events"
_V1 = "memory.oom_control"


class OutOfMemory:
    """Watches the control group's counter of such kills; where there is none, nothing ever happened."""

    def __init__(self, own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> None:
        self._file = _counter_file(own, root)
        self._seen = self._count()

    def happened(self) -> bool:
        """True if the counter rose since the last call."""
        before, self._seen = self._seen, self._count()
        return self._seen > before

    def _count(self) -> int:
        if self._file is None:
            return 0
        try:
            words = self._file.read_text().split()
        except OSError:
            return 0
        return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0


def _counter_file(own: Path, root: Path) -> Path | None:
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, group = line.split(":", 2)
        inside = group.lstrip("/")
        if not controllers:
            candidates = [root / inside / _V2, root / _V2]
        elif "memory" in controllers.split(","):
            candidates = [root / "memory" / inside / _V1, root / "memory" / _V1]
        else:
            continue
        for candidate in candidates:
            if candidate.exists():
                return candidate
    return None
