"""The seam between a scan and the place its files come from.

A scan knows folders, files and pages, and five ways in which a source can say no; it does not know disks or HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol

ShouldStop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder of a source, as a listing shows it.

    `file_id` names it for as long as it exists; `path` is for people, relative to the program's folder, and need not be
    unique. An equal `fingerprint` promises equal content; None makes no promise. `skip_reason` says why only what a
    listing shows can be kept of a file; `remark` is what people should know of its text. `size` is bytes. The others are the
    source's own: `content_id` is read instead of `file_id` (a shortcut's target), `checksum` is `algorithm:hexadecimal` of
    the content, `corpus` is the list of changes that tells of it.
    """

    file_id: str
    parent_id: str | None
    name: str
    path: str
    mime_type: str
    size: int | None = None
    modified_at: datetime | None = None
    fingerprint: str | None = None
    is_folder: bool = False
    trashed: bool = False
    skip_reason: str | None = None
    content_id: str | None = None
    checksum: str | None = None
    corpus: str | None = None
    remark: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a folder's list. `complete` is False when the source admits that it left something out."""

    entries: tuple[Entry, ...]
    next_page: str | None = None
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to a file or folder; `entry` is None when it is gone, or lies outside by now."""

    file_id: str
    entry: Entry | None
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class ChangePage:
    """A part of the list of changes. `cursor` is where to go on; `last` says that this was all there is for now."""

    changes: tuple[Change, ...]
    cursor: str
    last: bool


class SourceError(Exception):
    """A source could not do what it was asked; the message is for people. Raised by itself: worth trying again."""


class FileUnavailable(SourceError):
    """This one file cannot be read now; the next scan tries again. `remote` if the source's own trouble may be why."""

    def __init__(self, reason: str, *, remote: bool = False) -> None:
        super().__init__(reason)
        self.remote = remote


class FileSkipped(SourceError):
    """This one file is not to be read: as long as its fingerprint stays the same, unless `for_good` is false."""

    def __init__(self, reason: str, *, for_good: bool = True) -> None:
        super().__init__(reason)
        self.for_good = for_good


class FileGone(SourceError):
    """The file was listed, and is not there any more."""


class FolderUnavailable(SourceError):
    """One folder cannot be listed: nothing may be concluded from not seeing its files."""


class FolderGone(SourceError):
    """The folder was listed, and is certainly not there any more."""


class PageExpired(SourceError):
    """The page token is not accepted any more; the folder must be listed from its first page."""


class CursorExpired(SourceError):
    """The list of changes cannot be continued from this cursor; only a full scan tells what changed."""


class SourceUnusable(SourceError):
    """Nothing of this source can be read until somebody acts; the message says who should do what."""


class CoolDown(SourceError):
    """The source asks for a pause of `after` seconds, for everything that uses the same credential."""

    def __init__(self, after: float, reason: str) -> None:
        super().__init__(reason)
        self.after = after


class Stopped(Exception):
    """The job was told to stop while the source was busy."""


class Source(Protocol):
    """A place files come from. Used by one thread. Every method may raise `CoolDown`, `SourceUnusable` and `Stopped`."""

    @property
    def cheap_to_list(self) -> bool:
        """Whether listing everything once more, only to know how much there is, costs next to nothing."""

    def root(self, folder_id: str | None) -> Entry:
        """The folder to start from: the program's own (None), or one inside it. Raises `SourceUnusable` if there is none."""

    def children(self, folder: Entry, page: str | None) -> Page:
        """A page of what is directly in `folder`; the first for None. A folder's pages are asked for in order.

        Raises `FolderUnavailable`, `FolderGone`, `PageExpired`.
        """

    def fetch(self, entry: Entry, into: BinaryIO, should_stop: ShouldStop) -> str:
        """Write the file's content to `into`, and return its media type. Verified where the source tells a checksum.

        Raises `FileUnavailable`, `FileSkipped`, `FileGone`.
        """

    def exists(self, folder_id: str) -> bool:
        """Whether the folder is there. True when in doubt."""

    def lookup(self, file_id: str) -> Entry | None:
        """The file or folder with its path inside the program's folder; None if it is gone or lies outside.

        Raises `FileUnavailable`.
        """

    def start_cursor(self, root: Entry) -> str | None:
        """Where the list of changes stands now; None if the source keeps none."""

    def changes(self, root: Entry, cursor: str) -> ChangePage:
        """What changed since `cursor`, as far as it can concern this program. Raises `CursorExpired`."""

    def close(self) -> None:
        """Let go of files and connections."""
