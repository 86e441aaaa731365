"""The numbers of a scan."""

from __future__ import annotations

from dataclasses import dataclass

from . import rows


@dataclass(slots=True)
class Tally:
    """How many files a scan came by, and what became of them. Every file processed is successful, failed or skipped."""

    found: int = 0
    expected: int = 0
    processed: int = 0
    successful: int = 0
    failed: int = 0
    skipped: int = 0
    read: int = 0
    removed: int = 0

    @property
    def total(self) -> int:
        """How many files there are, as far as is known by now."""
        return max(self.found, self.expected, self.processed)

    def count(self, status: str) -> None:
        """One more file was processed, and is in that status now."""
        self.processed += 1
        if status == rows.INDEXED:
            self.successful += 1
        elif status == rows.FAILED:
            self.failed += 1
        else:
            self.skipped += 1

    def sentence(self) -> str:
        """The numbers in words."""
        parts = [f"{self.processed:,} files", f"{self.read:,} read"]
        parts += [f"{number:,} {word}" for number, word in self._exceptions() if number]
        return ", ".join(parts)

    def _exceptions(self) -> list[tuple[int, str]]:
        return [(self.skipped, "skipped"), (self.failed, "failed"), (self.removed, "removed")]
