"""How much of what others wrote is searched for secrets at a time: so little that nobody who waits for it is missed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Integer, case, literal_column, select
from sqlalchemy.engine import Connection

from .bounds import octets
from .dialects import AnyRow
from .extraction import may_hold_secrets, part_text, suspects
from .job import LARGEST_CLAIMED
from .tables import indexing_jobs

job = indexing_jobs.c

AT_ONCE = 2_000_000
"""Bytes of parameters that one portion reads, unless its first row alone has more."""

LONGEST = 0.5
"""Seconds after which no further row is begun."""

SMALL = 1_000
"""Bytes of parameters that come along with their row. Larger ones are fetched, so that no statement searches many of them."""


class Portion(NamedTuple):
    """The first of some rows, at least one; the texts among their parameters that may hold secrets; and what these part into."""

    rows: list[AnyRow]
    texts: Mapping[int, str]
    parted: Mapping[int, tuple[str, dict[str, str]]]


def searchable() -> list[ColumnElement[Any]]:
    """The columns of which `search` must know: how large the parameters are, and small ones that may hold secrets."""
    size = octets(job.job_parameters)
    is_small = size <= literal_column(str(SMALL), Integer)
    return [size.label("size"), case((is_small, suspects(job.job_parameters))).label("suspect")]


def search(connection: Connection, rows: Sequence[AnyRow], clock: Callable[[], float] = time.monotonic) -> Portion:
    """Search rows that were selected with `searchable`, from the first on, for as long as it takes little."""
    until = clock() + LONGEST
    chosen = _within_size(rows)
    texts = _texts(connection, chosen)
    parted: dict[int, tuple[str, dict[str, str]]] = {}
    for done, row in enumerate(chosen, 1):
        if row.id in texts:
            parted[row.id] = part_text(texts[row.id])
        if clock() > until:
            return Portion(chosen[:done], texts, parted)
    return Portion(chosen, texts, parted)


def _within_size(rows: Sequence[AnyRow]) -> list[AnyRow]:
    left = AT_ONCE
    for at, row in enumerate(rows):
        left -= row.size if _is_fetched(row) else 0
        if left < 0 and at:
            return list(rows[:at])
    return list(rows)


def _texts(connection: Connection, rows: Sequence[AnyRow]) -> dict[int, str]:
    texts: dict[int, str] = {row.id: row.suspect for row in rows if row.suspect}
    if large := [row.id for row in rows if _is_fetched(row)]:
        fetched = connection.execute(select(job.id, job.job_parameters).where(job.id.in_(large)))
        texts |= {row.id: row.job_parameters for row in fetched if row.job_parameters and may_hold_secrets(row.job_parameters)}
    return texts


def _is_fetched(row: AnyRow) -> bool:
    """With larger ones than can be claimed the job fails anyway."""
    return row.size is not None and SMALL < row.size <= LARGEST_CLAIMED
