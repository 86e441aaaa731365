"""Drive's metadata as entries. Whatever a server leaves out, or gets wrong, has a harmless reading here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ..source import Entry

FOLDER = "application/vnd.google-apps.folder"
SHORTCUT = "application/vnd.google-apps.shortcut"
NATIVE = "application/vnd.google-apps."
SHEET = NATIVE + "spreadsheet"
EXPORTS = {NATIVE + "document": "text/plain", NATIVE + "presentation": "text/plain", SHEET: "text/csv"}
"""What Google's own kinds of documents are exported to; those not named here have no text to export."""

USER = "user"
"""The name of the list of changes of everything that is not in a shared drive."""

FILE = (
    "id,name,mimeType,parents,size,md5Checksum,sha256Checksum,headRevisionId,version,modifiedTime,createdTime,trashed,"
    "explicitlyTrashed,driveId,shortcutDetails(targetId,targetMimeType,targetResourceKey),resourceKey,"
    "capabilities(canDownload,canListChildren)"
)
"""The fields of a file that are asked for."""

LIST = f"nextPageToken,incompleteSearch,files({FILE})"
CHANGES = f"nextPageToken,newStartPageToken,changes(fileId,removed,changeType,file({FILE}))"


def entry_of(found: Mapping[str, Any], parent_id: str | None, parent_path: str) -> Entry | None:
    """A file or folder as a listing shows it; None for one without an id. A shortcut is what it is, not its target."""
    file_id = _text(found.get("id"))
    if not file_id:
        return None
    name, mime_type = _text(found.get("name")) or "", _text(found.get("mimeType")) or "application/octet-stream"
    return Entry(
        file_id,
        parent_id,
        name,
        f"{parent_path}/{name}" if parent_path else name,
        mime_type,
        size=_number(found.get("size")),
        modified_at=_moment(found.get("modifiedTime")),
        fingerprint=_fingerprint(found, mime_type),
        is_folder=mime_type == FOLDER,
        trashed=found.get("trashed") is True,
        skip_reason=_skip_reason(found, mime_type),
        content_id=file_id,
        checksum=_checksum(found),
        corpus=_text(found.get("driveId")) or USER,
        remark="only the first sheet is indexed" if mime_type == SHEET else None,
    )


def through_shortcut(shortcut: Entry, target: Entry) -> Entry:
    """A file's content under the shortcut's own id, name and place; a folder as itself, in the shortcut's place."""
    if target.is_folder:
        return replace(target, parent_id=shortcut.parent_id, name=shortcut.name, path=shortcut.path)
    if target.mime_type == SHORTCUT:
        return replace(shortcut, skip_reason="a shortcut to a shortcut")
    print_of_target = f"{target.file_id}/{target.fingerprint}" if target.fingerprint else None
    return replace(
        target, file_id=shortcut.file_id, parent_id=shortcut.parent_id, name=shortcut.name, path=shortcut.path,
        fingerprint=print_of_target,
    )


def shortcut_target(found: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The id of a shortcut's target, and the key that a target shared by link needs."""
    details = found.get("shortcutDetails")
    if not isinstance(details, Mapping):
        return None, None
    return _text(details.get("targetId")), _text(details.get("targetResourceKey"))


def parents_of(found: Mapping[str, Any]) -> list[str]:
    """The ids of the folders it is in; none if they cannot be seen."""
    parents = found.get("parents")
    return [each for each in parents if isinstance(each, str)] if isinstance(parents, list) else []


def _skip_reason(found: Mapping[str, Any], mime_type: str) -> str | None:
    capabilities = found.get("capabilities")
    may = capabilities if isinstance(capabilities, Mapping) else {}
    if mime_type == FOLDER:
        return "the credential may not list this folder" if may.get("canListChildren") is False else None
    if mime_type.startswith(NATIVE) and mime_type != SHORTCUT and mime_type not in EXPORTS:
        return f"a Google {mime_type.removeprefix(NATIVE)} has no text to export"
    return "its owner does not allow downloads" if may.get("canDownload") is False else None


def _fingerprint(found: Mapping[str, Any], mime_type: str) -> str | None:
    """Google's own documents have no checksum, and their version moves with things that no reader sees."""
    if mime_type.startswith(NATIVE):
        mark = _text(found.get("modifiedTime")) or _text(found.get("version"))
        return f"native:{mark}" if mark else None
    mark = _checksum(found) or _text(found.get("headRevisionId"))
    return f"{mark}:{found.get('size')}:{mime_type}" if mark else None


def _checksum(found: Mapping[str, Any]) -> str | None:
    for key, algorithm in (("sha256Checksum", "sha256"), ("md5Checksum", "md5")):
        if value := _text(found.get(key)):
            return f"{algorithm}:{value.lower()}"
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: object) -> int | None:
    """An int64, which JSON carries as text."""
    if isinstance(value, str | int) and not isinstance(value, bool) and str(value).isascii() and str(value).isdigit():
        return min(int(str(value)[:19]), 2**63 - 1)
    return None


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
