"""While looking at all ready jobs is dear, as when somebody's transaction keeps Postgres from cleaning up, claims look near."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from backends import Job, Kind, NewJob, Outcome, Queue
from backends.looks import BELIEVED, DEAR, LONGEST_PAUSE, LOWEST_PRIORITY, PAUSE, PER_JOB, WATCHED, Looks, Near
from tests.backends.scene import DONE, insert_many, insert_raw, plans, time_text

OURS = ("quick",)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
pg_only = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


class Clock:
    """A clock that goes on when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Table:
    """What a look costs, and finds, by the time from which on it looks; it keeps what it was asked."""

    def __init__(self, whole: float, near: float = 0.0) -> None:
        self.clock, self.whole, self.near = Clock(), whole, near
        self.found, self.near_found = [_job(NOON)], [_job(NOON)]
        self.limit = 1
        self.asked: list[Near | None] = []
        self.looks = Looks(self.clock)

    def ask(self, near: Near | None) -> list[Job]:
        """One look."""
        self.asked.append(near)
        self.clock.now += self.near if near else self.whole
        return self.near_found if near else self.found

    def claims(self, number: int) -> list[Near | None]:
        """What that many claims asked for."""
        self.asked.clear()
        for _ in range(number):
            self.looks.claim(self.ask, self.limit)
        return list(self.asked)


def _job(created: datetime, priority: int = 0) -> Job:
    given = {"created_at": created, "priority": priority, "started_at": NOON + timedelta(hours=1)}
    return Job._make(given.get(name, 0) for name in Job._fields)


AT_NOON = Near(0, NOON)


def test_while_whole_looks_are_cheap_there_are_no_others() -> None:
    assert set(Table(whole=DEAR / 2).claims(50)) == {None}


def test_a_claim_of_many_jobs_is_not_dear_for_its_size() -> None:
    table = Table(whole=0.9 * DEAR + 500 * PER_JOB)
    table.found = 500 * table.found
    assert set(table.claims(50)) == {None}


def test_a_statement_that_settles_many_jobs_is_not_dear_for_that() -> None:
    table = Table(whole=0.9 * DEAR + 500 * PER_JOB)
    for _ in range(50):
        table.looks.claim(table.ask, 1, settled=500)
    assert set(table.asked) == {None}


def test_one_cheap_look_among_the_last_says_that_the_dear_ones_were_a_moments_load() -> None:
    table = Table(whole=1.0)
    for _ in range(20):
        table.whole = 1.0
        assert set(table.claims(WATCHED - 1)) == {None}
        table.whole = 0.001
        assert table.claims(1) == [None]


def test_after_enough_dear_looks_the_next_begin_at_the_last_job_that_was_taken() -> None:
    table = Table(whole=0.1, near=0.001)
    table.found, table.limit = [_job(NOON + timedelta(seconds=1), 5), _job(NOON, 3)], 2
    assert table.claims(WATCHED + 3) == WATCHED * [None] + 3 * [Near(3, NOON)]


def test_a_look_that_left_none_has_the_next_begin_at_the_newest_whatever_its_priority() -> None:
    table = Table(whole=0.1, near=0.001)
    table.found, table.limit = [_job(NOON + timedelta(seconds=1), 5), _job(NOON, 3)], 3
    assert table.claims(WATCHED + 1)[-1] == Near(LOWEST_PRIORITY, NOON + timedelta(seconds=1))


def test_an_old_job_found_alone_does_not_have_the_next_looks_begin_at_its_time() -> None:
    table = Table(whole=0.1, near=0.001)
    table.limit = 2
    table.claims(WATCHED)
    table.found = [_job(NOON - timedelta(days=1))]
    table.clock.now += LONGEST_PAUSE
    assert table.claims(2) == [None, Near(LOWEST_PRIORITY, NOON)]


def test_a_look_that_finds_nothing_lets_the_next_look_at_every_priority() -> None:
    table = Table(whole=0.1, near=0.001)
    table.claims(WATCHED)
    table.found = []
    table.clock.now += LONGEST_PAUSE
    assert table.claims(2) == [None, Near(LOWEST_PRIORITY, NOON)]


def test_a_job_that_says_it_was_created_in_the_future_hides_no_other() -> None:
    table = Table(whole=0.1, near=0.001)
    table.found = [_job(NOON + timedelta(days=9999))]
    assert table.claims(WATCHED + 1)[-1] == Near(0, NOON + timedelta(hours=1))


def test_after_a_look_that_failed_the_next_is_whole() -> None:
    table = Table(whole=0.1, near=0.001)
    table.claims(WATCHED)
    with pytest.raises(RuntimeError):
        table.looks.claim(_fail, 1)
    assert table.claims(2) == [None, AT_NOON]


def _fail(near: Near | None) -> list[Job]:
    raise RuntimeError("the database is away")


def test_a_whole_look_is_had_whenever_it_is_asked_for() -> None:
    table = Table(whole=0.1, near=0.001)
    table.claims(WATCHED)
    table.looks.claim(table.ask, 1, at_all=True)
    assert table.asked[-1] is None


def test_whole_looks_take_a_twentieth_of_the_time() -> None:
    table = Table(whole=0.1, near=0.001)
    table.claims(WATCHED)
    began = table.clock.now
    asked = table.claims(20_000)
    assert asked.count(None) * 0.1 == pytest.approx((table.clock.now - began) / (PAUSE + 1), rel=0.1)


def test_no_job_is_overlooked_for_longer_than_the_longest_pause() -> None:
    table = Table(whole=10.0, near=0.001)
    table.claims(WATCHED)
    table.clock.now += LONGEST_PAUSE - 0.1
    assert table.claims(1) == [AT_NOON]
    table.clock.now += 0.1
    assert table.claims(1) == [None]


def test_when_near_looks_cost_as_much_there_are_no_more_of_them() -> None:
    table = Table(whole=0.1, near=0.06)
    asked = table.claims(500)
    assert asked.count(AT_NOON) == WATCHED
    assert set(asked[2 * WATCHED:]) == {None}


def test_near_looks_that_cost_as_much_are_tried_again_after_a_while() -> None:
    table = Table(whole=0.1, near=0.06)
    table.claims(500)
    table.near = 0.001
    table.clock.now += BELIEVED
    assert set(table.claims(20)[-15:]) == {AT_NOON}


def test_when_whole_looks_became_cheap_again_there_are_no_others() -> None:
    table = Table(whole=0.1, near=0.001)
    table.claims(1000)
    table.whole = 0.001
    table.clock.now += LONGEST_PAUSE
    assert set(table.claims(50)) == {None}


def test_a_near_look_that_finds_nothing_is_made_up_for_where_whole_looks_find_something() -> None:
    table = Table(whole=0.1, near=0.001)
    table.claims(WATCHED)
    table.near_found = []
    assert table.claims(2) == [AT_NOON, None, AT_NOON, None]
    table.found = []
    nowhere = Near(LOWEST_PRIORITY, NOON)
    assert table.claims(3) == [AT_NOON, None, nowhere, nowhere]


def test_a_worker_that_found_nothing_yet_has_nothing_to_begin_at() -> None:
    table = Table(whole=0.1)
    table.found = []
    assert set(table.claims(50)) == {None}


# On the database


@contextmanager
def dear_whole_looks(queue: Queue, engine: Engine) -> Iterator[list[bool]]:
    """Each whole look at the queue takes 0.1 s by a clock of ours. Yields which looks were near, as they are made."""
    clock, looks = Clock(), []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "locked_boot_seconds" in statement and "LIMIT" in statement:
            looks.append("created_at >=" in statement)
            clock.now += 0.0 if looks[-1] else 0.1

    queue._cycles._looks = Looks(clock)
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield looks
    finally:
        event.remove(engine, "before_cursor_execute", note)


def _grow_dear(queue: Queue) -> None:
    for turn in range(WATCHED):
        queue.enqueue([NewJob("quick", 1)])
        [job] = queue.claim(f"dear:{turn}", OURS, 1)
        assert queue.settle(f"dear:{turn}", [(job, DONE)]) == []


@pg_only
def test_near_looks_find_new_jobs_in_the_queues_order(queue: Queue, engine: Engine) -> None:
    with dear_whole_looks(queue, engine) as looks:
        _grow_dear(queue)
        wanted = [(0, "second"), (7, "urgent"), (0, "third"), (-7, "last")]
        ids = {name: queue.enqueue([NewJob("quick", 1, priority=priority)])[0] for priority, name in wanted}
        claimed = [queue.claim(f"t:{turn}", OURS, 1)[0].id for turn in range(4)]
        assert looks[WATCHED:] == [True] * 4 + [False], "of the last one's priority nothing had been looked at yet"
    assert claimed == [ids[name] for name in ("urgent", "second", "third", "last")]


@pg_only
def test_settling_and_claiming_in_one_statement_looks_near_too(queue: Queue, engine: Engine) -> None:
    with dear_whole_looks(queue, engine) as looks:
        _grow_dear(queue)
        queue.enqueue([NewJob("quick", 1) for _ in range(6)])
        done, ran = [], []
        for turn in range(4):
            cycle = queue.settle_and_claim(f"t:{turn}", done, f"t:{turn + 1}", OURS, 2)
            assert cycle.lost == []
            done = [(job, DONE) for job in cycle.claimed]
            ran += [job.id for job in cycle.claimed]
        assert looks[WATCHED:] == [True] * 4
    assert len(set(ran)) == 6
    assert queue.counts().completed == WATCHED + 6


@pg_only
def test_a_job_that_became_ready_again_is_claimed_when_nothing_newer_is_there(queue: Queue, engine: Engine) -> None:
    queue.enqueue([NewJob("quick", 1)])
    [old] = queue.claim("old", OURS, 1)
    with dear_whole_looks(queue, engine) as looks:
        _grow_dear(queue)
        assert queue.settle("old", [(old, Outcome(Kind.RELEASED, "handed back"))]) == []
        [new] = queue.enqueue([NewJob("quick", 1)])
        assert [job.id for job in queue.claim("t:1", OURS, 1)] == [new], "overlooked for the moment"
        assert [job.id for job in queue.claim("t:2", OURS, 1)] == [old.id]
        assert looks[WATCHED:] == [True, True, False]


@pg_only
def test_of_lower_priority_nothing_newer_goes_before_what_is_older(queue: Queue, engine: Engine) -> None:
    backlog = queue.enqueue([NewJob("quick", 1, priority=3) for _ in range(3)])
    with dear_whole_looks(queue, engine):
        for turn in range(WATCHED):
            queue.enqueue([NewJob("quick", 1, priority=5)])
            assert queue.claim(f"dear:{turn}", OURS, 1)[0].priority == 5
        queue.enqueue([NewJob("quick", 1), NewJob("quick", 1, priority=3)])
        [urgent] = queue.enqueue([NewJob("quick", 1, priority=5)])
        claimed = [queue.claim(f"t:{turn}", OURS, 1)[0].id for turn in range(4)]
    assert claimed == [urgent, *backlog]


@pg_only
def test_the_next_of_a_lane_is_claimed_as_the_former_is_settled(queue: Queue, engine: Engine) -> None:
    lane = queue.enqueue([NewJob("laned", 1) for _ in range(3)])
    queue.admit()
    with dear_whole_looks(queue, engine):
        _grow_dear(queue)
        queue.enqueue([NewJob("quick", 1)])
        done = [(job, DONE) for job in queue.claim("t:0", ("laned",), 1)]
        ran = [job.id for job, _ in done]
        for turn in range(2):
            queue.enqueue([NewJob("quick", 1)])
            claimed = queue.settle_and_claim(f"t:{turn}", done, f"t:{turn + 1}", (*OURS, "laned"), 1).claimed
            done = [(job, DONE) for job in claimed]
            ran += [job.id for job in claimed]
    assert ran == lane


@pg_only
def test_a_near_look_that_finds_nothing_admits_before_it_gives_up(queue: Queue, engine: Engine) -> None:
    with dear_whole_looks(queue, engine) as looks:
        _grow_dear(queue)
        queue.claim("t:0", OURS, 1)
        old = insert_raw(engine, created_at=NOON)
        assert [job.id for job in queue.claim("t:1", OURS, 1)] == [old]
        assert looks[WATCHED:][-2:] == [True, False]


@pg_only
@pytest.mark.parametrize("settles", [False, True])
def test_a_near_look_reads_the_index_of_ready_jobs_and_no_rows_before_its_time(
    queue: Queue, engine: Engine, settles: bool
) -> None:
    insert_many(engine, 5000, status="'completed'", completed_at=time_text(engine, 60))
    insert_many(engine, 5000, examined="true", ready_at=time_text(engine, 1), priority="n % 10")
    with engine.begin() as connection:
        connection.execute(text("ANALYZE indexing_jobs"))
    with dear_whole_looks(queue, engine):
        _grow_dear(queue)
        done = [(job, DONE) for job in queue.claim("t:1", OURS, 1)] if settles else []
        ask: Callable[[], Any] = lambda: queue.settle_and_claim("t:1", done, "t:2", OURS, 10)  # noqa: E731
        (plan,) = plans(engine, "created_at >=", ask)
    assert "using jobqueue_ready" in plan
    assert re.search(r"Index Cond: .*priority >= .*created_at >= ", plan), plan
    assert "Sort" not in plan.split("CTE claimed")[0], plan


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_on_sqlite_where_nothing_dead_is_read_every_look_is_whole(queue: Queue, engine: Engine) -> None:
    with dear_whole_looks(queue, engine) as looks:
        _grow_dear(queue)
        old = insert_raw(engine, created_at=NOON)
        queue.enqueue([NewJob("quick", 1)])
        queue.admit()
        assert [job.id for job in queue.claim("t:1", OURS, 1)] == [old]
        assert looks == (WATCHED + 1) * [False]
