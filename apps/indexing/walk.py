"""Every folder below one, each once, in an explicit frontier: no recursion, and no way round a cycle."""

from __future__ import annotations

from collections.abc import Iterator

from .source import Entry, FolderGone, FolderUnavailable, PageExpired, Source


class Walk:
    """One walk through the folders below `root`.

    `visited` are the ids of the folders listed so far. `gaps` says, for people, what could not be listed; while there is
    one, nothing may be concluded from not having seen a file.
    """

    def __init__(self, source: Source, root: Entry) -> None:
        self._source, self._root = source, root
        self._frontier = [root]
        self.visited = {root.file_id}
        self.gaps: list[str] = []

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for was listed."""
        return not self.gaps

    def pages(self) -> Iterator[list[Entry]]:
        """The files, a page of one folder at a time. A folder that is listed anew shows files again."""
        while self._frontier:
            folder = self._frontier.pop()
            try:
                yield from self._pages_of(folder)
            except FolderUnavailable as error:
                self._gap(str(error))
            except FolderGone as error:
                if folder is self._root:
                    self._gap(str(error))

    def _pages_of(self, folder: Entry) -> Iterator[list[Entry]]:
        page: str | None = None
        renewed = False
        while True:
            try:
                found = self._source.children(folder, page)
            except PageExpired as error:
                if renewed or page is None:
                    raise FolderUnavailable(str(error)) from None
                page, renewed = None, True
                continue
            if not found.complete:
                self._gap(f"{folder.path or folder.name}: the source says that its list is not complete")
            yield self._files(found.entries)
            page = found.next_page
            if page is None:
                return

    def _files(self, entries: tuple[Entry, ...]) -> list[Entry]:
        for entry in entries:
            if entry.is_folder and entry.skip_reason:
                self._gap(f"{entry.path}: {entry.skip_reason}")
            elif entry.is_folder and entry.file_id not in self.visited:
                self.visited.add(entry.file_id)
                self._frontier.append(entry)
        return [entry for entry in entries if not entry.is_folder]

    def _gap(self, reason: str) -> None:
        if len(self.gaps) < 100:
            self.gaps.append(reason)
