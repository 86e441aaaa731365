"""Programs: what is indexed for whom, and where its files are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection

from backends import drive_cursors, programs

from .databases import pass_over_given_ids

LOCAL, GOOGLE_DRIVE = "local", "google_drive"
SOURCES = (LOCAL, GOOGLE_DRIVE)
SECRETS = ("access_token", "refresh_token", "client_secret", "password", "private_key", "service_account")


class BadProgram(ValueError):
    """A program cannot be stored or used; the message says why and what to write instead."""


@dataclass(frozen=True, slots=True)
class Program:
    """One row of `jobqueue_programs`. `folder` is an absolute path, or a Drive folder's id (None: all of My Drive)."""

    id: int
    name: str
    source: str
    folder: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    declared: bool = False


def read_program(connection: Connection, program_id: int) -> Program | None:
    """The program of that id; None if there is none. Raises `BadProgram` for a row whose settings are not JSON."""
    row = connection.execute(select(programs).where(programs.c.id == program_id)).first()
    return None if row is None else _program(row)


def list_programs(connection: Connection) -> list[Program]:
    """All programs in the order of their ids."""
    return [_program(row) for row in connection.execute(select(programs).order_by(programs.c.id))]


def add_program(
    connection: Connection,
    name: str,
    source: str,
    folder: str | None = None,
    settings: Mapping[str, Any] | None = None,
    id: int | None = None,
) -> int:
    """Store a new program and return its id; a relative `folder` of a `local` one counts from the working directory.

    Raises `BadProgram` for what could never be indexed, and for an id that is taken.
    """
    values = _values(name, source, folder, settings or {})
    if id is not None and read_program(connection, id) is not None:
        raise BadProgram(f"program {id} exists already; leave the id out, or choose another")
    given = {} if id is None else {"id": id}
    new_id = connection.execute(insert(programs).values(**values, **given).returning(programs.c.id)).scalar_one()
    if id is not None:
        pass_over_given_ids(connection, programs)
    return int(new_id)


def declare_program(connection: Connection, declared: Mapping[str, Any]) -> str:
    """Bring one program of jobqueue.yaml into the table; returns what was done, as a sentence.

    The keys are those of `programs` in the file. A program of the same id that was created otherwise is left alone.
    Raises `BadProgram`.
    """
    values = _values(declared["name"], declared["source"], declared.get("folder"), declared.get("settings") or {})
    number, title = declared["id"], f"program {declared['id']} ({declared['name']})"
    before = read_program(connection, number)
    if before is None:
        connection.execute(insert(programs).values(id=number, declared=True, **values))
        pass_over_given_ids(connection, programs)
        return f"{title} was added: {_where(values)}"
    if not before.declared and before.name != declared["name"]:
        raise BadProgram(
            f"{title} is declared in jobqueue.yaml, but id {number} belongs to {before.name!r}, which was created "
            "otherwise; give the declared one another id"
        )
    return f"{title} {_redeclare(connection, before, values)}: {_where(values)}"


def _redeclare(connection: Connection, before: Program, values: Mapping[str, Any]) -> str:
    after = Program(before.id, values["name"], values["source"], values["folder"], json.loads(values["settings"]), True)
    if after == before:
        return "is as declared"
    connection.execute(update(programs).where(programs.c.id == before.id).values(declared=True, **values))
    if (after.source, after.folder) != (before.source, before.folder):
        connection.execute(delete(drive_cursors).where(drive_cursors.c.program_id == before.id))
    return "was changed"


def _values(name: str, source: str, folder: str | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    if not name or "\0" in name:
        raise BadProgram(f"a program needs a name, not {name!r}")
    if source not in SOURCES:
        raise BadProgram(f"program {name!r}: unknown source {source!r}; choose one of: {', '.join(SOURCES)}")
    if source == LOCAL and not folder:
        raise BadProgram(f"program {name!r}: a local program needs a folder; name a path on this host")
    for key in settings:
        if key in SECRETS:
            raise BadProgram(
                f"program {name!r}: settings must not hold a secret such as {key!r}; store it with "
                f"`supervisor secrets set --program ID {key}`, or name an environment variable: access_token_env: NAME"
            )
    place = str(Path(folder).expanduser().absolute()) if source == LOCAL and folder else folder
    return {"name": name, "source": source, "folder": place, "settings": _text(name, settings)}


def _text(name: str, settings: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(settings), allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise BadProgram(f"program {name!r}: settings cannot be stored as JSON: {error}") from None


def _program(row: Any) -> Program:
    try:
        settings = json.loads(row.settings)
    except ValueError as error:
        raise BadProgram(f"program {row.id} ({row.name}): its settings are not JSON: {error}; correct the row") from None
    if not isinstance(settings, dict):
        raise BadProgram(f"program {row.id} ({row.name}): its settings must be a JSON object; correct the row")
    return Program(row.id, row.name, row.source, row.folder, settings, bool(row.declared))


def _where(values: Mapping[str, Any]) -> str:
    if values["source"] == LOCAL:
        return f"files in {values['folder']}"
    return f"Google Drive, folder {values['folder']}" if values["folder"] else "all of My Drive"
