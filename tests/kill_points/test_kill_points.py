"""A sample of the kill points, and what they would show up: torn transactions, and statements that escaped the count.

All of them are `python -m tests.kill_points`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select

from backends import Kind, Queue, Status, indexing_jobs, open_engine
from backends.sqlite import driver
from tests.chaos.checker import Attempt
from tests.chaos.history import Event, Recorder
from tests.chaos.witness import Change

from . import campaign as campaigns
from .campaign import Campaign, Spot
from .databases import Databases, Place, Server, victims_url
from .enqueue_path import Caller, prepare_for_enqueue
from .pool import verdicts
from .repeats import runs_too_many
from .spying import Moment, Point, Spy
from .trial import PATHS, KillPath, attempt

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


SEVERAL = ("one", "two", "three", "four")


def add_several(place: Place) -> None:
    """What adds jobs by several calls in one transaction."""
    engine = open_engine(victims_url(place), key_file=place.keys)
    caller = Caller(Queue(engine), Recorder(place.histories, "client"))
    first, second, third, fourth = (caller.keyed(key) for key in SEVERAL)
    caller.in_a_transaction("several", [[first], [second, third], [fourth]])
    engine.dispose()


def kept(place: Place) -> int:
    """How many of them are there."""
    engine = open_engine(place.url)
    jobs = Queue(engine).read(lambda connection: connection.execute(select(indexing_jobs.c.unique_key)).scalars().all())
    engine.dispose()
    return len(set(jobs) & set(SEVERAL))


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
    [("sqlite", "worker"), ("sqlite", "maintenance"), ("sqlite", "enqueue"), ("postgresql", "worker"), ("postgresql", "enqueue")],
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


def test_a_kill_before_its_commit_leaves_no_job_of_a_callers_transaction_and_one_after_it_leaves_all(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PATHS, "several", KillPath(prepare_for_enqueue, add_several))
    databases = databases_of(backend, tmp_path)
    try:
        campaign = Campaign(databases, "several", 1)
        _, points = next(campaign.kinds())
        [commit] = {point.seen for point in points if isinstance(point, Point) and point.seen.words == "COMMIT"}
        inserts = [point.seen for point in points if isinstance(point, Point) and "INTO indexing_jobs" in point.seen.words]
        kills = {Point(inserts[-1], Moment.AFTER): 0, Point(commit, Moment.BEFORE): 0, Point(commit, Moment.AFTER): len(SEVERAL)}
        for number, (point, left) in enumerate(kills.items()):
            place = databases.copy(campaign._prepared, f"killed_{number}")
            [(_, verdict)] = verdicts([("", partial(attempt, databases, place, "several", point))], tmp_path, 1)
            assert (verdict.killed, verdict.violations) == (True, [])
            assert kept(place) == left, str(point)
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


def test_a_call_of_another_thread_escapes_no_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_aside(place: Place) -> None:
        other = threading.Thread(target=lambda: tear(place))
        other.start()
        other.join()

    monkeypatch.setitem(PATHS, "aside", KillPath(prepare_for_enqueue, write_aside))
    campaign = Campaign(Databases(tmp_path), "aside", 1)
    kind, _ = list(campaign.kinds())[1]
    [failure] = campaign.kill_at(kind, []).failures
    assert re.search(r"the main thread made {}, and others made .*'pwrite64': [1-9]", failure)


def test_a_point_that_only_the_run_that_counted_had_is_named_and_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = tmp_path / "walks"

    def look_once(place: Place) -> None:
        if not walks.exists():
            walks.touch()
            with open_engine(victims_url(place)).connect() as connection:
                connection.exec_driver_sql("SELECT 'once'")
        tear(place)

    monkeypatch.setattr(campaigns, "TRIES", 2)
    monkeypatch.setitem(PATHS, "changing", KillPath(prepare_for_enqueue, look_once))
    campaign = Campaign(Databases(tmp_path), "changing", 1)
    kind, points = next(campaign.kinds())
    chosen = [(number, point) for number, point in enumerate(points) if "once" in str(point)]
    report = campaign.kill_at(kind, chosen)
    assert (report.kills, report.failures) == (0, [])
    assert len(report.unreached) == len(chosen) == 2
    assert all("in none of 2 others" in each for each in report.unreached)


def test_a_point_that_was_passed_without_a_kill_is_a_fault_of_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PATHS, "spared", KillPath(prepare_for_enqueue, tear))
    campaign = Campaign(Databases(tmp_path), "spared", 1)
    kind, points = next(campaign.kinds())
    monkeypatch.setattr(Spy, "at", lambda *_: None)
    [failure] = campaign.kill_at(kind, [(0, points[0])]).failures
    assert "it was passed, and nobody was killed" in failure


STARTS = {
    "once more, both of one claim": ([(1, 1), (1, 2), (2, 1), (2, 2)], True, ""),
    "as planned": ([(3, 1), (3, 2)], False, ""),
    "without a kill": ([(1, 1), (1, 2)], False, "job 1 ran again after each of its leases [1], and nobody was killed"),
    "twice more": ([(1, 1), (1, 2), (1, 3)], True, "job 1 ran again after each of its leases [1, 2], after one kill"),
    "of two claims": ([(1, 1), (1, 2), (4, 1), (4, 2)], True, "jobs of 2 claims ran again: {1: [1], 4: [1]}, after one kill"),
}
"""Starts of handlers, by job and lease; whether there was a kill; and what is wrong with them."""


@pytest.mark.parametrize("case", STARTS)
def test_one_kill_has_the_jobs_of_one_claim_run_once_more_and_no_others(case: str) -> None:
    starts, killed, wrong = STARTS[case]
    history = [Event(0.0, "worker", "run", "started", job, lease) for job, lease in starts]
    tags = {(1, 1): "a", (2, 1): "a", (4, 1): "b"}
    changes = [Change(job, Status.PENDING, Status.RUNNING, lease, tags.get((job, lease), "a")) for job, lease in starts]
    found = runs_too_many(history, [Attempt(3, 1, Kind.SNOOZED, "later")], changes, killed)
    assert any(wrong in each for each in found) if wrong else found == []
