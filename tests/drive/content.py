"""A Drive in memory: My Drive of each user, shared drives, and the list of changes."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

FOLDER = "application/vnd.google-apps.folder"
SHORTCUT = "application/vnd.google-apps.shortcut"
DOCUMENT = "application/vnd.google-apps.document"
SHEET = "application/vnd.google-apps.spreadsheet"
FORM = "application/vnd.google-apps.form"
EXPORTABLE = {DOCUMENT: {"text/plain", "application/pdf"}, SHEET: {"text/csv"}}
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Item:
    """A file, folder or shortcut. `extra` overrides what its resource says, None leaves a field out."""

    id: str
    name: str
    mime_type: str
    parents: list[str]
    owner: str
    content: bytes = b""
    drive_id: str | None = None
    target: str | None = None
    trashed: bool = False
    version: int = 1
    modified: datetime = EPOCH
    can_download: bool = True
    abusive: bool = False
    resource_key: str | None = None
    shared_with: set[str] = field(default_factory=set)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Logged:
    """One entry of the list of changes."""

    number: int
    file_id: str
    drive_id: str | None
    removed: bool


class Drive:
    """What is stored, and who may see it. Every change moves versions and times on, and is logged, as in the real one."""

    def __init__(self, user: str = "alice") -> None:
        self.lock = threading.RLock()
        self.user = user
        self.items: dict[str, Item] = {}
        self.drives: dict[str, str] = {}
        self.members: dict[str, set[str]] = {}
        self.changes: list[Logged] = []
        self._number = 0

    # What a test does

    def root(self, user: str | None = None) -> str:
        """The id of a user's My Drive."""
        user = user or self.user
        if f"root-{user}" not in self.items:
            self.items[f"root-{user}"] = Item(f"root-{user}", "My Drive", FOLDER, [], user)
        return f"root-{user}"

    def folder(self, name: str, parent: str | None = None, **more: Any) -> str:
        """Add a folder; returns its id."""
        return self._add(name, FOLDER, parent, **more)

    def file(
        self, name: str, content: bytes | str = b"", parent: str | None = None, mime_type: str = "text/plain", **more: Any
    ) -> str:
        """Add a file, or one of Google's own documents with the text that it is exported to."""
        return self._add(name, mime_type, parent, content=content.encode() if isinstance(content, str) else content, **more)

    def shortcut(self, name: str, target: str, parent: str | None = None) -> str:
        """Add a shortcut."""
        return self._add(name, SHORTCUT, parent, target=target)

    def shared_drive(self, name: str, members: set[str] | None = None) -> str:
        """Add a shared drive; its id is also the id of its top folder."""
        drive_id = f"drive{len(self.drives) + 1}"
        self.drives[drive_id], self.members[drive_id] = name, members or {self.user}
        self.items[drive_id] = Item(drive_id, "Drive", FOLDER, [], "", drive_id=drive_id)
        return drive_id

    def write(self, file_id: str, content: bytes | str) -> None:
        """Replace a file's content."""
        self._change(file_id, content=content.encode() if isinstance(content, str) else content)

    def rename(self, file_id: str, name: str) -> None:
        """Rename. As in the real one, files below a folder get no change of their own."""
        self._change(file_id, name=name)

    def move(self, file_id: str, parent: str) -> None:
        """Move into another folder."""
        self._change(file_id, parents=[parent])

    def trash(self, file_id: str, trashed: bool = True) -> None:
        """Put into the trash, or take out of it."""
        self._change(file_id, trashed=trashed)

    def set(self, file_id: str, **more: Any) -> None:
        """Set attributes without a change that anybody is told of."""
        for name, value in more.items():
            setattr(self.items[file_id], name, value)

    def delete(self, file_id: str) -> None:
        """Delete for good, with all that is below."""
        with self.lock:
            for child in [each.id for each in self.items.values() if file_id in each.parents]:
                self.items[child].parents.remove(file_id)
                if not self.items[child].parents:
                    del self.items[child]
            gone = self.items.pop(file_id)
            self._log(file_id, gone.drive_id, removed=True)

    def _add(self, name: str, mime_type: str, parent: str | None, id: str | None = None, **more: Any) -> str:
        with self.lock:
            parent = parent or self.root()
            self._number += 1
            file_id = id or f"id{self._number:05d}"
            above = self.items[parent]
            self.items[file_id] = Item(
                file_id, name, mime_type, [parent], above.owner, drive_id=above.drive_id, modified=self._now(), **more
            )
            self._log(file_id, above.drive_id)
            return file_id

    def _change(self, file_id: str, **more: Any) -> None:
        with self.lock:
            self._number += 1
            self.set(file_id, version=self.items[file_id].version + 1, modified=self._now(), **more)
            self._log(file_id, self.items[file_id].drive_id)

    def _log(self, file_id: str, drive_id: str | None, removed: bool = False) -> None:
        self.changes.append(Logged(len(self.changes) + 1, file_id, drive_id, removed))

    def _now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._number)

    # What the server asks

    def may_see(self, user: str, item: Item) -> bool:
        """Whether the user can see it."""
        if item.drive_id:
            return user in self.members[item.drive_id]
        return item.owner == user or user in item.shared_with

    def is_trashed(self, item: Item) -> bool:
        """Whether it, or a folder above it, is in the trash."""
        seen: set[str] = set()
        above = [item]
        while above:
            each = above.pop()
            if each.trashed:
                return True
            above += [self.items[parent] for parent in each.parents if parent in self.items and parent not in seen]
            seen.update(each.parents)
        return False

    def resource(self, item: Item, user: str) -> dict[str, Any]:
        """The file resource, all fields that this Drive knows."""
        found: dict[str, Any] = {
            "kind": "drive#file", "id": item.id, "name": item.name, "mimeType": item.mime_type, "version": str(item.version),
            "createdTime": EPOCH.isoformat().replace("+00:00", ".000Z"),
            "modifiedTime": item.modified.isoformat().replace("+00:00", ".000Z"),
            "trashed": self.is_trashed(item), "explicitlyTrashed": item.trashed, "ownedByMe": item.owner == user,
            "capabilities": {"canDownload": item.can_download, "canListChildren": item.mime_type == FOLDER},
            "webViewLink": f"https://drive.google.com/file/d/{item.id}/view",
        }
        optional = {"parents": list(item.parents), "driveId": item.drive_id, "resourceKey": item.resource_key}
        found |= {key: value for key, value in optional.items() if value}
        found |= self._shortcut(item) if item.target else {}
        if not item.mime_type.startswith("application/vnd.google-apps."):
            found |= _of_blob(item)
        found |= item.extra
        return {key: value for key, value in found.items() if value is not None}

    def _shortcut(self, item: Item) -> dict[str, Any]:
        target = self.items.get(item.target or "")
        details = {"targetId": item.target, "targetMimeType": target.mime_type if target else "application/octet-stream"}
        if target is not None and target.resource_key:
            details["targetResourceKey"] = target.resource_key
        return {"shortcutDetails": details}


def _of_blob(item: Item) -> dict[str, Any]:
    return {
        "size": str(len(item.content)), "md5Checksum": hashlib.md5(item.content).hexdigest(),
        "sha256Checksum": hashlib.sha256(item.content).hexdigest(), "headRevisionId": f"rev{item.version}",
    }
