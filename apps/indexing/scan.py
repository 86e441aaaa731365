"""A scan: walk a source, take its files, and conclude what is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

from workers import JobContext

from ..programs import Program
from . import cursors, rows
from .extract import Extractor
from .files import Files
from .rows import Known, Unseen
from .searchable import index_older
from .source import Change, ChangePage, CursorExpired, Entry, FileUnavailable, Source, Stopped
from .tally import Tally
from .walk import Walk

Belongs = Callable[[Unseen], bool]


class FolderLeft(Exception):
    """A folder went out of the program's folder, and only a full scan can tell which files went with it."""


class Scan:
    """One attempt at bringing `indexed_files` up to date with a program's source.

    Every method raises `Stopped` when the job is to stop, and the errors of the source that concern more than a file or folder.
    """

    def __init__(self, ctx: JobContext, program: Program, source: Source, extractor: Extractor) -> None:
        self._ctx, self._program, self._source = ctx, program, source
        self._tally = Tally()
        self._files = Files(ctx, source, extractor, self._tally)

    def make_searchable(self) -> None:
        """Have the files found that were indexed by a release which did not see to that."""
        after: int | None = 0
        while after is not None:
            self._stop_if_told()
            after = self._commit(index_older, self._program.id, after)

    def everything(self) -> None:
        """List the program's whole folder; read what changed; mark as removed what is not there any more."""
        root = self._source.root(None)
        corpus = self._park_cursor(root)
        walk = self._walk(root, expected=self._known_files())
        if self._may_conclude(walk, None):
            self._remove_unseen(lambda row: True)
            if corpus is not None:
                self._commit(cursors.promote, self._program.id, corpus)
        self._finish(walk.gaps)

    def folder(self, folder_id: str) -> None:
        """The same for one folder and what is below it; the rest of the program is left as it is."""
        root = self._source.root(folder_id)
        walk = self._walk(root, expected=0)
        if self._may_conclude(walk, folder_id):
            self._remove_unseen(self._below(root, walk.visited))
        self._finish(walk.gaps)

    def changes(self) -> None:
        """What the source's list of changes tells since the last time; without such a list, everything."""
        root = self._source.root(None)
        cursor = self._commit(cursors.read, self._program.id, root.corpus) if root.corpus else None
        if cursor is None:
            return self.everything()
        try:
            gaps = self._follow(root, cursor)
        except (CursorExpired, FolderLeft) as error:
            self._ctx.log.info("changes.not_enough", reason=str(error))
            return self.everything()
        self._read_again()
        return self._finish(gaps)

    # Walking

    def _walk(self, root: Entry, expected: int) -> Walk:
        self._forget_sightings()
        self._tally.expected = self._count(root) if self._source.cheap_to_list else expected
        walk = Walk(self._source, root)
        for files in walk.pages():
            self._stop_if_told()
            self._files.take(files, once=True)
        self._tally.expected = 0
        return walk

    def _count(self, root: Entry) -> int:
        number = 0
        for files in Walk(self._source, root).pages():
            self._stop_if_told()
            number += len(files)
        return number

    def _forget_sightings(self) -> None:
        """An earlier attempt of this job may have seen files that are gone by now."""
        while self._ctx.job.lease > 1 and self._commit(rows.forget_sightings, self._program.id, self._ctx.job.id):
            self._stop_if_told()

    def _may_conclude(self, walk: Walk, folder_id: str | None) -> bool:
        """Whether what was not seen is gone: all was listed, and the folder itself is still there."""
        if walk.complete:
            self._source.root(folder_id)
        return walk.complete

    def _below(self, root: Entry, visited: set[str]) -> Belongs:
        """Files of the folders that were listed, and of folders that once were below `root` and are gone."""
        gone: dict[str, bool] = {}

        def belongs(row: Unseen) -> bool:
            parent = row.parent_id or ""
            if parent in visited or not root.path:
                return True
            if not row.path.startswith(root.path + "/"):
                return False
            if parent not in gone:
                gone[parent] = not self._source.exists(parent)
            return gone[parent]

        return belongs

    def _remove_unseen(self, belongs: Belongs) -> None:
        after = 0
        while batch := self._commit(rows.unseen, self._program.id, self._ctx.job.id, after):
            self._stop_if_told()
            after = batch[-1].id
            ids = [row.id for row in batch if belongs(row)]
            self._tally.removed += self._commit(rows.remove, ids, "not there any more")

    # Following the list of changes

    def _park_cursor(self, root: Entry) -> str | None:
        """Ask where the list of changes stands before anything is listed, so that no change falls between."""
        token = self._source.start_cursor(root)
        if token is None or root.corpus is None:
            return None
        self._commit(cursors.park, self._program.id, root.corpus, token)
        return root.corpus

    def _follow(self, root: Entry, cursor: str) -> list[str]:
        """Page through the changes. A page's cursor is stored once all it tells is in rows. Returns what could not be listed."""
        while True:
            self._stop_if_told()
            page = self._source.changes(root, cursor)
            if page.cursor == cursor and not page.last:
                raise CursorExpired("the list of changes goes round in a circle")
            gaps = self._take_changes(page)
            if gaps:
                return gaps
            self._finish_page(root, page)
            cursor = page.cursor
            if page.last:
                return []

    def _take_changes(self, page: ChangePage) -> list[str]:
        latest = {change.file_id: change for change in page.changes}
        folders = [change.entry for change in latest.values() if change.entry and change.entry.is_folder]
        files = [change.entry for change in latest.values() if change.entry and not change.entry.is_folder]
        self._files.take(files, once=False)
        gaps: list[str] = []
        for folder in folders:
            walk = Walk(self._source, folder)
            for found in walk.pages():
                self._files.take(found, once=False)
            gaps += walk.gaps
        return gaps

    def _finish_page(self, root: Entry, page: ChangePage) -> None:
        latest = {change.file_id: change for change in page.changes}
        gone = [change for change in latest.values() if change.entry is None]
        with self._ctx.transaction() as connection:
            known = rows.known(connection, self._program.id, [change.file_id for change in gone])
            for change in gone:
                if self._may_take_files_along(connection, change, change.file_id in known):
                    raise FolderLeft(f"folder {change.file_id} is gone, or lies outside by now")
            self._tally.removed += rows.remove(connection, [row.id for row in known.values()], "not there any more")
            cursors.advance(connection, self._program.id, root.corpus or "", page.cursor)

    def _may_take_files_along(self, connection: Connection, change: Change, is_file: bool) -> bool:
        if change.is_folder or is_file:
            return change.is_folder
        return rows.has_files_in(connection, self._program.id, change.file_id)

    def _read_again(self) -> None:
        """Files that could not be read the last time: no change will tell of them."""
        after = 0
        while batch := self._commit(rows.unread, self._program.id, after):
            after = batch[-1].id
            for row in batch:
                if row.last_seen_job != self._ctx.job.id:
                    self._stop_if_told()
                    self._read_one_again(row)

    def _read_one_again(self, row: Known) -> None:
        try:
            entry = self._source.lookup(row.file_id)
        except FileUnavailable:
            return
        if entry is None:
            self._tally.removed += self._commit(rows.remove, [row.id], "not there any more")
        elif not entry.is_folder:
            self._files.take([entry], once=False)

    # Small steps

    def _known_files(self) -> int:
        return int(self._commit(rows.number_of_files, self._program.id))

    def _commit(self, statement: Callable[..., Any], *arguments: Any) -> Any:
        with self._ctx.transaction() as connection:
            return statement(connection, *arguments)

    def _stop_if_told(self) -> None:
        if self._ctx.should_stop():
            raise Stopped

    def _finish(self, gaps: list[str]) -> None:
        tally = self._tally
        message = tally.sentence()
        if gaps:
            message += f"; not everything could be listed, so nothing was marked as removed: {gaps[0]}"
            self._ctx.log.warning("scan.incomplete", gaps=gaps)
        self._ctx.progress(
            tally.processed, tally.processed, message, successful=tally.successful, failed=tally.failed
        )
