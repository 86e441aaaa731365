"""A sample of the kill points, and what they would show up: torn transactions, and statements that escaped the count.

All of them are `python -m tests.kill_points`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from backends import Queue, open_engine
from backends.sqlite import driver
from tests.chaos.history import Recorder

from .campaign import Campaign, Spot
from .databases import Databases, Place, Server, victims_url
from .enqueue_path import Caller, prepare_for_enqueue
from .spying import Moment, Point
from .trial import PATHS, KillPath

EVERY = 131
"""Of so many statements one is tried here."""


def sample(points: Sequence[Spot]) -> list[tuple[int, Spot]]:
    """Some statements, or of each system call the middle one: the last ones are not in every run, for threads poll."""
    numbered = list(enumerate(points))
    if isinstance(points[0], Point):
        return numbered[EVERY // 2 :: EVERY]
    counted = {spot[0]: spot[1] for spot in points if not isinstance(spot, Point)}
    return [(number, spot) for number, spot in numbered if spot[1] == (counted[str(spot[0])] + 1) // 2]


def tear(place: Place) -> None:
    """What promises one transaction, and takes two."""
    engine = open_engine(victims_url(place), key_file=place.keys)
    caller = Caller(Queue(engine), Recorder(place.histories, "client"))
    for key in ("first", "second"):
        caller._note("invoke", "torn", [caller.keyed(key)])
    for key in ("first", "second"):
        caller._queue.enqueue([caller.keyed(key)])
    engine.dispose()


def hide(place: Place) -> None:
    """What sends a statement that nobody spies upon."""
    url = victims_url(place)
    if url.startswith("sqlite"):
        driver.connect(url.removeprefix("sqlite:///")).execute("SELECT 1").fetchall()
    else:
        psycopg.connect(url, autocommit=True).execute("SELECT 1").close()
    tear(place)


def databases_of(backend: str, folder: Path) -> Databases:
    """Where the copies are."""
    return Databases(folder) if backend == "sqlite" else Server(folder)


@pytest.mark.parametrize(
    ("backend", "path"),
    [("sqlite", "worker"), ("sqlite", "maintenance"), ("postgresql", "worker"), ("postgresql", "enqueue")],
)
def test_a_kill_at_any_point_breaks_no_promise_and_no_point_escapes_the_servers_own_count(
    backend: str, path: str, tmp_path: Path
) -> None:
    databases = databases_of(backend, tmp_path)
    try:
        campaign = Campaign(databases, path, 4)
        for kind, points in campaign.kinds():
            chosen = sample(points)
            report = campaign.kill_at(kind, chosen)
            assert report.failures == []
            assert report.kills == len(chosen) > 0
    finally:
        databases.close()


def test_a_transaction_that_is_torn_is_found_by_a_kill_in_its_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PATHS, "torn", KillPath(prepare_for_enqueue, tear))
    campaign = Campaign(Databases(tmp_path), "torn", 1)
    kind, points = next(campaign.kinds())
    middle = next(point for point in points if isinstance(point, Point) and point.seen.words == "COMMIT")
    report = campaign.kill_at(kind, [(0, middle._replace(moment=Moment.AFTER))])
    [failure] = report.failures
    assert "G2 broken: of the transaction 'torn' only ['first'] of ['first', 'second'] are there" in failure


def test_a_statement_that_escapes_the_count_is_found(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PATHS, "hidden", KillPath(prepare_for_enqueue, hide))
    databases = databases_of(backend, tmp_path)
    try:
        campaign = Campaign(databases, "hidden", 1)
        kind, _ = next(campaign.kinds())
        [failure] = campaign.kill_at(kind, []).failures
    finally:
        databases.close()
    assert "asked only: {'SELECT': 1}" in failure
