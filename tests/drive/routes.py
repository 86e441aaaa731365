"""The methods of the API: what each answers to its parameters."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import masks, queries
from .content import EXPORTABLE, FOLDER, Drive, Item

LARGEST_EXPORT = 10 * 1024 * 1024
DEFAULT_FIELDS = {
    "File": "kind,id,name,mimeType",
    "FileList": "kind,nextPageToken,incompleteSearch,files(kind,id,name,mimeType)",
    "ChangeList": "kind,nextPageToken,newStartPageToken,"
    "changes(kind,type,changeType,time,removed,fileId,file(kind,id,name,mimeType))",
    "Drive": "kind,id,name",
    "DriveList": "kind,nextPageToken,drives(kind,id,name)",
    "StartPageToken": "kind,startPageToken",
}


class ApiError(Exception):
    """A refusal, as Drive words it."""

    def __init__(self, status: int, reason: str, message: str, **more: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.more = status, reason, message, more


@dataclass(frozen=True)
class Call:
    """One request, understood: who asks, with which parameters (those in the path included) and headers."""

    drive: Drive
    user: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]

    def flag(self, name: str) -> bool:
        """A boolean parameter; false by default."""
        return self.parameters.get(name) == "true"

    def item(self) -> Item:
        """The file that `fileId` names, if this user may know of it."""
        wanted = self.parameters["fileId"]
        item = self.drive.items.get(self.drive.root(self.user) if wanted == "root" else wanted)
        if item is None or not self.drive.may_see(self.user, item) or not self._has_key(item):
            raise not_found(wanted)
        if item.drive_id and not self.flag("supportsAllDrives") and "mimeType" not in self.parameters:
            raise not_found(wanted)
        return item

    def _has_key(self, item: Item) -> bool:
        if item.resource_key is None or item.owner == self.user:
            return True
        return f"{item.id}/{item.resource_key}" in self.headers.get("x-goog-drive-resource-keys", "").split(",")

    def masked(self, schema: str, answer: dict[str, Any]) -> dict[str, Any]:
        """The part of the answer that was asked for."""
        try:
            mask = masks.parse(self.parameters.get("fields") or DEFAULT_FIELDS[schema], schema)
        except masks.BadMask as error:
            raise ApiError(400, "invalidParameter", str(error), location="fields", locationType="parameter") from None
        return dict(masks.applied(mask, answer))


def not_found(file_id: str) -> ApiError:
    """404, the same whether it does not exist or must not be known."""
    return ApiError(404, "notFound", f"File not found: {file_id}.", location="fileId", locationType="parameter")


def invalid(name: str) -> ApiError:
    """400 for a parameter."""
    return ApiError(400, "invalid", "Invalid Value", location=name, locationType="parameter")


def get(call: Call) -> dict[str, Any]:
    """files.get"""
    return call.masked("File", call.drive.resource(call.item(), call.user))


def list_files(call: Call) -> dict[str, Any]:
    """files.list"""
    corpus = _corpus(call)
    try:
        predicate = queries.parse(call.parameters["q"]) if call.parameters.get("q") else lambda found: True
    except queries.BadQuery:
        raise invalid("q") from None
    _check_parent(call)
    visible = [item for item in call.drive.items.values() if _is_listed(call, item, corpus)]
    found = [each for each in (call.drive.resource(item, call.user) for item in visible) if predicate(_with_alias(call, each))]
    page, token = _page(call, found)
    answer: dict[str, Any] = {"kind": "drive#fileList", "incompleteSearch": False, "files": page}
    return call.masked("FileList", answer | ({"nextPageToken": token} if token else {}))


def _corpus(call: Call) -> str | None:
    """The shared drive that is listed; None for the user's corpus."""
    corpora, drive_id = call.parameters.get("corpora", "user"), call.parameters.get("driveId")
    if corpora not in ("user", "drive", "allDrives", "domain") or (corpora == "drive") != (drive_id is not None):
        raise invalid("corpora")
    both = call.flag("supportsAllDrives") and call.flag("includeItemsFromAllDrives")
    if corpora in ("drive", "allDrives") and not both:
        raise ApiError(403, "teamDrivesParentLimit", "The client has not indicated that it supports shared drives.")
    if drive_id is not None and call.user not in call.drive.members.get(drive_id, ()):
        raise ApiError(404, "notFound", f"Shared drive not found: {drive_id}")
    return drive_id


def _check_parent(call: Call) -> None:
    """Drive answers 404 to a question for the children of what is not there."""
    words = call.parameters.get("q", "").split(" in parents")[0]
    parent = words.strip("' ").replace("\\'", "'").replace("\\\\", "\\")
    single = call.parameters.get("q", "").count(" in parents") == 1
    if single and words.startswith("'") and parent != "root":
        item = call.drive.items.get(parent)
        if item is None or not call.drive.may_see(call.user, item):
            raise ApiError(404, "notFound", "File not found: .", location="fileId", locationType="parameter")


def _is_listed(call: Call, item: Item, corpus: str | None) -> bool:
    if not call.drive.may_see(call.user, item) or (not item.parents and item.mime_type == FOLDER):
        return False
    if corpus is not None:
        return item.drive_id == corpus
    return item.drive_id is None or (call.flag("includeItemsFromAllDrives") and call.flag("supportsAllDrives"))


def _with_alias(call: Call, found: dict[str, Any]) -> dict[str, Any]:
    root = call.drive.root(call.user)
    return found | {"parents": [*found.get("parents", []), "root"]} if root in found.get("parents", []) else found


def _page(call: Call, found: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str | None]:
    """A page, and the token of the next, which is good for this very question only."""
    asked = {key: call.parameters.get(key) for key in ("q", "corpora", "driveId", "orderBy")}
    question = hashlib.sha256(json.dumps([call.user, asked]).encode()).hexdigest()[:16]
    token, start = call.parameters.get("pageToken"), 0
    if token:
        kind, rest = _opened(token)
        if kind != "page" or rest[0] != question:
            raise invalid("pageToken")
        start = int(rest[1])
    end = start + int(call.parameters.get("pageSize", "100"))
    return found[start:end], _sealed("page", question, str(end)) if end < len(found) else None


def _sealed(kind: str, *rest: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([kind, *rest, secrets.token_hex(4)]).encode()).decode()


def _opened(token: str) -> tuple[str, list[str]]:
    try:
        kind, *rest = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, binascii.Error, TypeError):
        raise invalid("pageToken") from None
    return kind, rest


def media(call: Call) -> tuple[str, bytes]:
    """files.get with alt=media"""
    item = call.item()
    if item.mime_type.startswith("application/vnd.google-apps."):
        raise ApiError(403, "fileNotDownloadable", "Only files with binary content can be downloaded. Use Export.")
    if not item.can_download:
        raise ApiError(403, "cannotDownloadFile", "This file cannot be downloaded by the user.")
    if item.abusive and not call.flag("acknowledgeAbuse"):
        raise ApiError(403, "cannotDownloadAbusiveFile", "This file has been identified as malware or spam.")
    return item.mime_type, item.content


def export(call: Call) -> tuple[str, bytes]:
    """files.export"""
    item, wanted = call.item(), call.parameters["mimeType"]
    if item.mime_type not in EXPORTABLE:
        raise ApiError(403, "fileNotExportable", "Export only supports Docs Editors files.")
    if wanted not in EXPORTABLE[item.mime_type]:
        raise ApiError(400, "badRequest", "The requested conversion is not supported.")
    if len(item.content) > LARGEST_EXPORT:
        raise ApiError(403, "exportSizeLimitExceeded", "This file is too large to be exported.")
    return wanted, item.content


def start_page_token(call: Call) -> dict[str, Any]:
    """changes.getStartPageToken"""
    token = _sealed("changes", call.user, call.parameters.get("driveId", ""), str(len(call.drive.changes)))
    return call.masked("StartPageToken", {"kind": "drive#startPageToken", "startPageToken": token})


def list_changes(call: Call) -> dict[str, Any]:
    """changes.list"""
    drive_id = call.parameters.get("driveId", "")
    kind, rest = _opened(call.parameters["pageToken"])
    if kind != "changes" or rest[:2] != [call.user, drive_id]:
        raise invalid("pageToken")
    start, size = int(rest[2]), int(call.parameters.get("pageSize", "100"))
    logged = call.drive.changes[start : start + size]
    end = start + len(logged)
    shown = [each for each in logged if not drive_id or each.drive_id == drive_id]
    token = _sealed("changes", call.user, drive_id, str(end))
    key = "nextPageToken" if end < len(call.drive.changes) else "newStartPageToken"
    return call.masked(
        "ChangeList", {"kind": "drive#changeList", key: token, "changes": [_change(call, each.file_id) for each in shown]}
    )


def _change(call: Call, file_id: str) -> dict[str, Any]:
    """What is told of a file is its state now; of one that is gone, or not for this user, only its id."""
    item = call.drive.items.get(file_id)
    change: dict[str, Any] = {
        "kind": "drive#change", "type": "file", "changeType": "file", "fileId": file_id, "removed": True,
        "time": "2026-01-01T00:00:00.000Z",
    }
    if item is None or not call.drive.may_see(call.user, item):
        return change
    return change | {"removed": False, "file": call.drive.resource(item, call.user)}


def get_drive(call: Call) -> dict[str, Any]:
    """drives.get"""
    drive_id = call.parameters["driveId"]
    if call.user not in call.drive.members.get(drive_id, ()):
        raise ApiError(404, "notFound", f"Shared drive not found: {drive_id}")
    return call.masked("Drive", {"kind": "drive#drive", "id": drive_id, "name": call.drive.drives[drive_id]})


def list_drives(call: Call) -> dict[str, Any]:
    """drives.list"""
    mine = [each for each, members in call.drive.members.items() if call.user in members]
    found = [{"kind": "drive#drive", "id": each, "name": call.drive.drives[each]} for each in mine]
    return call.masked("DriveList", {"kind": "drive#driveList", "drives": found})
