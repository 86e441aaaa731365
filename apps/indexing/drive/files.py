"""A folder of Google Drive as a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, BinaryIO, NoReturn

from ..source import (
    Change,
    ChangePage,
    CursorExpired,
    Entry,
    FileGone,
    FileSkipped,
    FileUnavailable,
    FolderGone,
    FolderUnavailable,
    Page,
    PageExpired,
    ShouldStop,
    SourceError,
    SourceUnusable,
)
from . import entries
from .answers import Verdict
from .calls import Calls, Refused, Unreachable
from .download import Download, is_intact
from .entries import CHANGES, EXPORTS, FILE, LIST, SHORTCUT, USER

MY_DRIVE = "root"
PAGE = 1000
MOST_EMPTY_PAGES = 100
DEEPEST = 500
"""Folders that are climbed through on the way up."""


class DriveSource:
    """The files below one folder that a credential can see; all of My Drive for None."""

    cheap_to_list = False

    def __init__(
        self, calls: Calls, folder: str | None, *, include_trashed: bool = False, largest: int = 100_000_000
    ) -> None:
        self._calls, self._folder, self._include_trashed = calls, folder, include_trashed
        self._download = Download(calls, largest)
        self._keys: dict[str, str] = {}
        self._paths: dict[str, str | None] = {}
        self._pages_seen: set[str] = set()
        self._empty_pages = 0

    def close(self) -> None:
        """Close the connections."""
        self._download.close()
        self._calls.close()

    # Folders

    def root(self, folder_id: str | None) -> Entry:
        """The program's folder, or one below it. Raises `SourceUnusable` for what is not there, no folder, or outside."""
        own = self._root_folder(self._folder or MY_DRIVE)
        self._paths = {own.file_id: ""}
        if folder_id is None or folder_id == own.file_id:
            return own
        folder = self._root_folder(folder_id)
        path = self._path_of(folder.file_id)
        if path is None and self._folder is not None:
            raise SourceUnusable(f"folder {folder_id} lies outside of the program's folder {self._folder}")
        return replace(folder, path=path or folder.name or folder.file_id)

    def _root_folder(self, folder_id: str) -> Entry:
        try:
            found = self._get(folder_id)
        except Refused as error:
            raise SourceUnusable(
                f"Google Drive folder {folder_id} cannot be read: {error}; share it with the account of the credential, or "
                "correct the program's folder or the job's folder_id"
            ) from None
        entry = entries.entry_of(found, None, "")
        if entry is None or not entry.is_folder:
            raise SourceUnusable(f"{folder_id} is not a folder of Google Drive but {found.get('mimeType')}; give a folder's id")
        if entry.trashed and not self._include_trashed:
            raise SourceUnusable(f"Google Drive folder {folder_id} is in the trash; restore it, or set include_trashed")
        return replace(entry, path="")

    def children(self, folder: Entry, page: str | None) -> Page:
        """One page of one folder: Drive leaves out files, without a word, when it is asked for several folders at once."""
        if page is None:
            self._pages_seen, self._empty_pages = set(), 0
        query = self._query(folder, page)
        try:
            answer = self._calls.ask(lambda service: service.files().list(**query), "files", self._key(folder))
        except Unreachable as error:
            raise FolderUnavailable(f"{folder.path or folder.name}: {error}") from None
        except Refused as error:
            self._refuse_folder(folder, page, error)
        found = answer["files"] if isinstance(answer["files"], list) else []
        shown = [self._child(each, folder) for each in found if isinstance(each, Mapping)]
        complete = answer.get("incompleteSearch") is not True
        return Page(tuple(entry for entry in shown if entry), self._next_page(folder, answer, bool(found)), complete)

    def _query(self, folder: Entry, page: str | None) -> dict[str, Any]:
        escaped = folder.file_id.replace("\\", "\\\\").replace("'", "\\'")
        query: dict[str, Any] = {
            "q": f"'{escaped}' in parents" + ("" if self._include_trashed else " and trashed=false"),
            "pageSize": PAGE, "fields": LIST, "supportsAllDrives": True, "includeItemsFromAllDrives": True,
        }
        if folder.corpus not in (None, USER):
            query |= {"corpora": "drive", "driveId": folder.corpus}
        return query | ({"pageToken": page} if page else {})

    def _next_page(self, folder: Entry, answer: Mapping[str, Any], had_files: bool) -> str | None:
        """The token of the next page. A server that repeats itself, or never comes to an end, must not keep us for ever."""
        token = answer.get("nextPageToken")
        if not isinstance(token, str) or not token:
            return None
        self._empty_pages = 0 if had_files else self._empty_pages + 1
        if token in self._pages_seen or self._empty_pages > MOST_EMPTY_PAGES:
            raise FolderUnavailable(f"{folder.path or folder.name}: the server's list of this folder comes to no end")
        self._pages_seen.add(token)
        return token

    def _refuse_folder(self, folder: Entry, page: str | None, error: Refused) -> NoReturn:
        shown = folder.path or folder.name
        if error.verdict is Verdict.REJECTED and page is not None:
            raise PageExpired(f"{shown}: {error}") from None
        if error.verdict is Verdict.REJECTED:
            raise SourceError(f"Google Drive rejects our request for the files of {shown}: {error}") from None
        if error.verdict is Verdict.GONE and not self.exists(folder.file_id):
            raise FolderGone(f"{shown}: deleted while it was scanned") from None
        raise FolderUnavailable(f"{shown}: {error}") from None

    def exists(self, folder_id: str) -> bool:
        """Whether it is there, and not in the trash unless trash is wanted."""
        try:
            found = self._get(folder_id, "id,trashed")
        except Refused as error:
            return error.verdict is not Verdict.GONE
        except Unreachable:
            return True
        return self._include_trashed or found.get("trashed") is not True

    # Files

    def _child(self, found: Mapping[str, Any], folder: Entry) -> Entry | None:
        return self._followed(found, entries.entry_of(found, folder.file_id, folder.path))

    def _followed(self, found: Mapping[str, Any], entry: Entry | None) -> Entry | None:
        """What a shortcut leads to; anything else as it is."""
        key = found.get("resourceKey")
        if entry is not None and isinstance(key, str):
            self._keys[entry.file_id] = key
        if entry is None or entry.mime_type != SHORTCUT:
            return entry
        target_id, key = entries.shortcut_target(found)
        if target_id is None:
            return replace(entry, skip_reason="a shortcut to nothing")
        if key:
            self._keys[target_id] = key
        return self._target(entry, target_id)

    def _target(self, shortcut: Entry, target_id: str) -> Entry:
        try:
            target = entries.entry_of(self._get(target_id), None, "")
        except (Refused, Unreachable) as error:
            return replace(shortcut, skip_reason=f"a shortcut to something that cannot be read: {error}")
        if target is None or (target.trashed and not self._include_trashed):
            return replace(shortcut, skip_reason="a shortcut to something in the trash")
        return entries.through_shortcut(shortcut, target)

    def fetch(self, entry: Entry, into: BinaryIO, should_stop: ShouldStop) -> str:
        """Download, or export one of Google's own documents; once more if it changed meanwhile."""
        try:
            if entry.mime_type in EXPORTS:
                return self._export(entry, into)
            self._blob(entry, into)
            if not is_intact(into, entry.checksum, entry.size):
                self._blob_again(entry, into)
        except Unreachable as error:
            raise FileUnavailable(str(error), remote=True) from None
        except Refused as error:
            raise _of_file(error) from None
        return entry.mime_type

    def _export(self, entry: Entry, into: BinaryIO) -> str:
        mime_type = EXPORTS[entry.mime_type]
        request = self._calls.service.files().export_media(fileId=_content_id(entry), mimeType=mime_type)
        self._download.read(request.uri, {**request.headers, **self._key(entry)}, into, resumable=False)
        return mime_type

    def _blob(self, entry: Entry, into: BinaryIO) -> None:
        request = self._calls.service.files().get_media(fileId=_content_id(entry), supportsAllDrives=True)
        self._download.read(request.uri, {**request.headers, **self._key(entry)}, into, resumable=True)

    def _blob_again(self, entry: Entry, into: BinaryIO) -> None:
        newer = entries.entry_of(self._get(_content_id(entry)), None, "")
        self._blob(entry, into)
        if newer is None or not is_intact(into, newer.checksum, newer.size):
            raise FileUnavailable("its content is not what its checksum says; it may have changed while it was read")

    def lookup(self, file_id: str) -> Entry | None:
        """The file with its place in the program's folder; None if it is gone, in the trash, or outside."""
        try:
            return self._placed(self._get(file_id))
        except Refused as error:
            if error.verdict is Verdict.GONE:
                return None
            raise FileUnavailable(str(error)) from None

    # Changes

    def start_cursor(self, root: Entry) -> str | None:
        """Where the list of changes of the root's drive stands."""
        answer = self._calls.ask(
            lambda service: service.changes().getStartPageToken(supportsAllDrives=True, **_of_drive(root)), "startPageToken"
        )
        return str(answer["startPageToken"])

    def changes(self, root: Entry, cursor: str) -> ChangePage:
        """One page of the list of changes."""
        query = {
            "pageToken": cursor, "pageSize": PAGE, "fields": CHANGES, "includeRemoved": True, "supportsAllDrives": True,
            "includeItemsFromAllDrives": True, **_of_drive(root),
        }
        try:
            answer = self._calls.ask(lambda service: service.changes().list(**query), "changes")
        except Refused as error:
            raise CursorExpired(f"Google Drive does not go on from where we were: {error}") from None
        found = [each for each in answer["changes"] if isinstance(each, Mapping) and each.get("fileId")]
        if any(_is_of_folder(each) for each in found):
            self._paths = {root.file_id: ""}
        changes = tuple(self._change(each) for each in found if each["fileId"] != root.file_id)
        following = answer.get("nextPageToken")
        token = following or answer.get("newStartPageToken")
        if not isinstance(token, str):
            raise CursorExpired("Google Drive's list of changes ends without saying where to go on")
        return ChangePage(changes, token, last=not following)

    def _change(self, change: Mapping[str, Any]) -> Change:
        found = change.get("file")
        if change.get("removed") is True or not isinstance(found, Mapping):
            return Change(change["fileId"], None)
        return Change(change["fileId"], self._placed(found), _is_of_folder(change))

    def _placed(self, found: Mapping[str, Any]) -> Entry | None:
        """The entry with the first of its places inside the program's folder; None if there is none."""
        if found.get("trashed") is True and not self._include_trashed:
            return None
        for parent in entries.parents_of(found):
            path = self._path_of(parent)
            if path is not None:
                return self._followed(found, entries.entry_of(found, parent, path))
        return None

    def _path_of(self, folder_id: str) -> str | None:
        """A folder's path inside the program's folder, found by climbing; None if the climb does not come by it."""
        climbed: list[tuple[str, str]] = []
        while folder_id not in self._paths and len(climbed) < DEEPEST:
            try:
                found = self._get(folder_id, "id,name,parents,trashed")
            except Refused:
                break
            climbed.append((folder_id, str(found.get("name") or "")))
            folder_id = next(iter(entries.parents_of(found)), "")
            if not folder_id or (found.get("trashed") is True and not self._include_trashed):
                break
        else:
            return self._remember(climbed, self._paths.get(folder_id))
        return self._remember(climbed, None)

    def _remember(self, climbed: list[tuple[str, str]], path: str | None) -> str | None:
        for folder_id, name in reversed(climbed):
            path = None if path is None else f"{path}/{name}" if path else name
            self._paths[folder_id] = path
        return path

    # Requests

    def _get(self, file_id: str, fields: str = FILE) -> dict[str, Any]:
        def request(service: Any) -> Any:
            return service.files().get(fileId=file_id, fields=fields, supportsAllDrives=True)

        return self._calls.ask(request, "id", self._key_of(file_id))

    def _key(self, entry: Entry) -> dict[str, str]:
        return self._key_of(_content_id(entry))

    def _key_of(self, file_id: str) -> dict[str, str]:
        key = self._keys.get(file_id)
        return {"X-Goog-Drive-Resource-Keys": f"{file_id}/{key}"} if key else {}


def _content_id(entry: Entry) -> str:
    return entry.content_id or entry.file_id


def _of_drive(root: Entry) -> dict[str, str]:
    return {} if root.corpus in (None, USER) else {"driveId": str(root.corpus)}


def _is_of_folder(change: Mapping[str, Any]) -> bool:
    found = change.get("file")
    return isinstance(found, Mapping) and found.get("mimeType") == entries.FOLDER


def _of_file(error: Refused) -> FileGone | FileSkipped | FileUnavailable:
    if error.verdict is Verdict.GONE:
        return FileGone("deleted, or out of reach, while the folder was scanned")
    if error.verdict is Verdict.LATER:
        return FileUnavailable(str(error))
    return FileSkipped(str(error), for_good=False)
