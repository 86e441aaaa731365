"""Databases to kill upon: a prepared one is copied for each kill, and thrown away after it."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import psycopg

from tests.postgres import PrivatePostgres

from .spying import Seen, read_seen

VICTIM = "victim"
"""The application name under which whoever is to be killed connects."""


@dataclass(frozen=True, slots=True)
class Place:
    """One database with its folder: the keys of its secrets, the histories of its actors, the logs of its processes."""

    folder: Path
    url: str

    @property
    def histories(self) -> Path:
        """Where actors write down what they did."""
        return self.folder / "histories"

    @property
    def keys(self) -> Path:
        """The key file."""
        return self.folder / "keys"

    @property
    def seen(self) -> Path:
        """What the spy saw."""
        return self.folder / "seen"

    @property
    def trace(self) -> Path:
        """What SQLite was asked, by its own word."""
        return self.folder / "trace"


class Databases:
    """A kind of database: where prepared ones and their copies are."""

    on_postgres = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def empty(self, name: str) -> Place:
        """A new, empty one."""
        (self.folder / name / "histories").mkdir(parents=True)
        return Place(self.folder / name, f"sqlite:///{self.folder}/{name}/queue.db")

    def copy(self, prepared: Place, name: str) -> Place:
        """A copy of one that nobody has open, with its keys and histories."""
        shutil.copytree(prepared.folder, self.folder / name)
        return Place(self.folder / name, f"sqlite:///{self.folder}/{name}/queue.db")

    def forget(self, place: Place) -> None:
        """Remove it."""
        shutil.rmtree(place.folder)

    def write_down_statements(self, place: Place) -> None:
        """Have the server log what it is asked there from now on."""

    def statements(self, place: Place) -> list[str]:
        """What the victim asked, by the server's own word.

        SQLite's driver repeats a statement for each trigger that it sets off, so what is repeated at once counts once.
        """
        return [line for line, _ in groupby(place.trace.read_text().splitlines())]

    def sent(self, place: Place) -> list[Seen]:
        """What the spy saw, to be compared with `statements`."""
        return [next(same) for _, same in groupby(read_seen(place.seen), lambda seen: seen.whole)]

    def close(self) -> None:
        """Leave nothing behind."""


class Server(Databases):
    """The databases of one private Postgres."""

    on_postgres = True
    _LOG = "log_min_messages = log\nlog_line_prefix = '<%a|%d>'"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._postgres = PrivatePostgres(self._LOG).start()

    def empty(self, name: str) -> Place:
        """A new, empty one."""
        self._administer(f'CREATE DATABASE "{name}"')
        (self.folder / name / "histories").mkdir(parents=True)
        return Place(self.folder / name, self._postgres.url(name))

    def copy(self, prepared: Place, name: str) -> Place:
        """A copy of one that nobody has open, with its keys and histories."""
        self._administer(f'CREATE DATABASE "{name}" TEMPLATE "{prepared.folder.name}"')
        shutil.copytree(prepared.folder, self.folder / name)
        return Place(self.folder / name, self._postgres.url(name))

    def forget(self, place: Place) -> None:
        """Remove it."""
        self._administer(f'DROP DATABASE "{place.folder.name}" WITH (FORCE)')
        super().forget(place)

    def write_down_statements(self, place: Place) -> None:
        """Have the server log what it is asked there from now on."""
        self._administer(f"ALTER DATABASE \"{place.folder.name}\" SET log_statement = 'all'")

    def statements(self, place: Place) -> list[str]:
        """What the victim asked, by the server's own word."""
        log = (self._postgres.folder / "log").read_text()
        mine = re.escape(f"<{VICTIM}|{place.folder.name}>LOG:  ")
        return re.findall(rf"^{mine}(?:statement|execute [^:]*): (.*)$", log, re.MULTILINE)

    def sent(self, place: Place) -> list[Seen]:
        """What the spy saw."""
        return read_seen(place.seen)

    def close(self) -> None:
        """Remove the server."""
        self._postgres.remove()

    def _administer(self, statement: str) -> None:
        with psycopg.connect(self._postgres.url(), autocommit=True) as connection:
            connection.execute(statement.encode())


def victims_url(place: Place) -> str:
    """The URL for whoever is to be killed."""
    return place.url if place.url.startswith("sqlite") else f"{place.url}?application_name={VICTIM}"

