"""Lanes: no two jobs of one lane ever run together, and no lane stands still while a job waits in it."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from backends import EVERYTHING, DatabaseUnavailable, JobTypeFacts, Kind, NewJob, Outcome, Queue, RetryPolicy, Status, open_engine
from backends.queue import REVIVED_AT_ONCE
from tests.backends.scene import (
    DONE,
    analyze,
    change,
    claim_one,
    foreign_engine,
    in_processes,
    insert_many,
    insert_raw,
    plans,
    row,
    running,
    time_text,
)

LANED = ("laned", "also_laned")


def _lane(queue: Queue, *priorities: int) -> list[int]:
    ids = queue.enqueue([NewJob("laned", 1, priority=priority) for priority in priorities])
    queue.admit()
    return ids


def _ready(queue: Queue, ids: list[int]) -> list[int]:
    return [job_id for job_id in ids if row(queue, job_id).ready_at is not None]


def test_the_best_of_a_lane_is_ready_and_the_others_wait_behind_it(queue: Queue) -> None:
    ids = _lane(queue, 0, 2, 1)
    assert _ready(queue, ids) == [ids[1]]
    assert [row(queue, each).lane for each in ids] == ["program:1"] * 3


def test_a_lane_runs_its_jobs_one_after_the_other_in_the_queues_order(queue: Queue) -> None:
    ids, order = _lane(queue, 0, 2, 1, 2), []
    while claimed := queue.claim(f"t:{len(order)}", LANED, 5):
        (mine,) = claimed
        assert queue.claim("other:1", LANED, 5) == []
        queue.settle(f"t:{len(order)}", [(mine, DONE)])
        order.append(mine.id)
    assert order == [ids[1], ids[3], ids[2], ids[0]]


def test_lanes_do_not_wait_for_each_other(queue: Queue) -> None:
    queue.enqueue([NewJob("laned", program) for program in (1, 1, 2, 3)])
    assert {each.program_id for each in queue.claim("t:1", LANED, 9)} == {1, 2, 3}


def test_job_types_with_the_same_template_share_their_lanes(queue: Queue) -> None:
    queue.enqueue([NewJob("laned", 1), NewJob("also_laned", 1)])
    assert len(queue.claim("t:1", LANED, 9)) == 1


def test_a_better_arrival_replaces_a_head_that_has_not_started(queue: Queue) -> None:
    first = _lane(queue, 0)
    better = _lane(queue, 1)
    assert _ready(queue, first + better) == better
    assert row(queue, first[0]).waits_for == "lane"


def test_the_database_itself_refuses_a_second_running_job_of_a_lane(queue: Queue, engine: Engine) -> None:
    """Whoever breaks the rule for lanes breaks an index, and is told."""
    first, second = _lane(queue, 0, 0)
    claim_one(queue)
    said = ""
    try:
        change(engine, second, status="running", locked_by="rival:1", ready_at=None, waits_for=None)
    except IntegrityError as error:
        said = str(error)
    assert "lane" in said, f"two jobs of one lane, {first} and {second}, run together"


def test_a_better_arrival_waits_for_a_head_that_runs(queue: Queue) -> None:
    _lane(queue, 0)
    mine = claim_one(queue)
    better = _lane(queue, 9)
    assert _ready(queue, better) == [], "a second job of the lane is ready while one runs"
    queue.settle("tester:0001", [(mine, DONE)])
    assert _ready(queue, better) == better


def test_a_better_arrival_does_not_run_beside_the_one_that_runs(queue: Queue) -> None:
    _lane(queue, 0)
    claim_one(queue)
    _lane(queue, 9)
    assert queue.claim("other:1", LANED, 5) == [], "two jobs of one lane run together"


def test_a_retry_in_backoff_gives_up_its_lane_and_comes_back_in_turn(queue: Queue, engine: Engine) -> None:
    patient = Queue(engine, {"laned": RetryPolicy(initial=500, jitter="none")})
    first, second = _lane(patient, 5, 0)
    mine = claim_one(patient)
    patient.settle("tester:0001", [(mine, Outcome(Kind.FAILED, "no"))])
    assert _ready(patient, [first, second]) == [second]
    change(engine, first, scheduled_at=datetime.now(UTC) - timedelta(seconds=1))
    patient.admit()
    assert _ready(patient, [first, second]) == [first]


@pytest.mark.parametrize("kind", list(Kind))
def test_however_the_holder_ends_the_lane_goes_on(queue: Queue, kind: Kind) -> None:
    ids = _lane(queue, 5, 0)
    mine = claim_one(queue)
    queue.settle("tester:0001", [(mine, Outcome(kind, "because", after=100))])
    assert len(_ready(queue, ids)) == 1


def test_cancelling_the_head_promotes_the_next(queue: Queue) -> None:
    ids = _lane(queue, 5, 4, 3)
    queue.cancel(ids[0])
    queue.cancel(ids[2])
    assert _ready(queue, ids[1:]) == [ids[1]]


def test_a_head_cancelled_after_somebody_examined_it_still_promotes_the_next(queue: Queue, engine: Engine) -> None:
    """The canceller saw it before it had a lane; admission gave it one since."""
    from backends.operating import _cancel_queued, _look

    with engine.begin() as connection:
        (first,) = queue.enqueue([NewJob("laned", 1)], connection)
    with engine.connect() as connection:
        seen = _look(connection, first, EVERYTHING)
    _lane(queue, -1)
    with engine.begin() as connection:
        assert seen is not None
        assert not _cancel_queued(connection, seen)
    assert row(queue, first).status == Status.PENDING


def test_an_insert_in_an_open_transaction_blocks_nobody(queue: Queue, database_url: str, backend: str) -> None:
    if backend == "sqlite":
        pytest.skip("an open writing transaction is the only one there")
    foreign = foreign_engine(database_url)
    _lane(queue, 0)
    with foreign.connect() as open_one:
        insert_raw(open_one, job_type="laned")
        began = time.monotonic()
        mine = claim_one(queue)
        queue.settle("tester:0001", [(mine, DONE)])
        (other,) = _lane(queue, 0)
        assert claim_one(queue).id == other
        assert time.monotonic() - began < 1.5
        open_one.rollback()
    foreign.dispose()


def test_a_lane_goes_on_when_its_heads_type_leaves_it(queue: Queue) -> None:
    leaver, stayer = queue.enqueue([NewJob("laned", 1), NewJob("also_laned", 1)])
    queue.admit()
    queue.register({"laned": JobTypeFacts(None)}, "changed")
    assert row(queue, stayer).ready_at is not None
    queue.admit()
    assert {each.id for each in queue.claim("t:1", LANED, 5)} == {leaver, stayer}


def test_names_too_long_for_an_index_still_make_different_lanes(queue: Queue, engine: Engine) -> None:
    queue.register({"by_folder": JobTypeFacts("folder:{folder_id}")}, "test")
    start = "".join(random.Random(1).choices("abcdefghij漢字", k=5000))
    ids = [insert_raw(engine, job_type="by_folder", folder_id=start + end) for end in "ABA"]
    queue.admit()
    found = [row(queue, each).lane for each in ids]
    assert found[0] == found[2] != found[1]
    assert len(queue.claim("t:1", ("by_folder",), 5)) == 2


@pytest.fixture
def nameless(queue: Queue, engine: Engine) -> list[int]:
    """Three jobs of a lane whose name is empty; the first of them is ready."""
    queue.register({"by_folder": JobTypeFacts("{folder_id}")}, "test")
    ids = [insert_raw(engine, job_type="by_folder", folder_id="") for _ in range(3)]
    assert queue.admit() == 1
    return ids


def test_a_lane_without_a_name_is_one(queue: Queue, nameless: list[int]) -> None:
    order = []
    for turn in range(3):
        (mine,) = queue.claim(f"t:{turn}", ("by_folder",), 5)
        assert (mine.lane, queue.claim("other:1", ("by_folder",), 5)) == ("", [])
        queue.settle(f"t:{turn}", [(mine, DONE)])
        order.append(mine.id)
    assert order == nameless
    assert queue.counts().waiting == 0


@pytest.mark.parametrize("kind", list(Kind))
def test_however_the_holder_ends_a_lane_without_a_name_goes_on(queue: Queue, nameless: list[int], kind: Kind) -> None:
    (mine,) = queue.claim("t:1", ("by_folder",), 5)
    queue.settle("t:1", [(mine, Outcome(kind, "because", after=100))])
    assert len(_ready(queue, nameless)) == 1


def test_cancelling_the_head_of_a_lane_without_a_name_promotes_the_next(queue: Queue, nameless: list[int]) -> None:
    queue.cancel(nameless[0])
    assert _ready(queue, nameless) == [nameless[1]]


OVERLAPS: dict[str, Callable[[Queue], list[int]]] = {
    "beside the head": lambda queue: [],
    "beside one that runs": lambda queue: [claim_one(queue, "runs:1").id],
}


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("limit", [1, 5])
def test_jobs_that_another_program_made_ready_beside_their_lanes_head_are_sent_back_and_stop_no_claim(
    queue: Queue, engine: Engine, overlap: str, limit: int
) -> None:
    ids, (plain,) = _lane(queue, 3, 2, 2), queue.enqueue([NewJob("quick", 1, priority=2)])
    runs = OVERLAPS[overlap](queue)
    for job_id in ids[1:]:
        change(engine, job_id, waits_for=None, ready_at=row(queue, plain).ready_at)
    done, claimed, apart = running(queue, "mine:1", priority=9), list(runs), set()
    tag, finished = "mine:1", [(done, DONE)]
    for turn in range(8):
        cycle = queue.settle_and_claim(tag, finished, f"mine:{turn + 2}", (*LANED, "quick"), limit)
        assert cycle.lost == []
        tag, finished = f"mine:{turn + 2}", [(each, DONE) for each in cycle.claimed]
        claimed += [each.id for each in cycle.claimed]
        apart |= set(cycle.kept_apart or ())
        assert len([each for each in queue.page(status="running").jobs if each.lane]) <= 1
    assert row(queue, done.id).status == Status.COMPLETED
    assert apart <= set(ids[1:])
    if runs:
        assert claimed == [ids[0], plain]
        assert apart == set(ids[1:])
    else:
        assert sorted(claimed) == sorted([*ids, plain])


BY_HAND = {
    "deleted": "DELETE FROM indexing_jobs WHERE id = :id",
    "ended": "UPDATE indexing_jobs SET status = 'completed', ready_at = NULL, locked_by = NULL, locked_at = NULL WHERE id = :id",
}


def _by_hand(engine: Engine, how: str, job_id: int) -> None:
    with engine.begin() as connection:
        connection.execute(text(BY_HAND[how]), {"id": job_id})


@pytest.mark.parametrize("how", BY_HAND)
@pytest.mark.parametrize("runs", [False, True])
def test_a_lane_whose_head_another_program_took_away_goes_on(queue: Queue, engine: Engine, how: str, runs: bool) -> None:
    ids = _lane(queue, 2, 1, 0)
    if runs:
        claim_one(queue)
    assert queue.revive_lanes() == 0
    _by_hand(engine, how, ids[0])
    assert queue.claim("t:1", LANED, 5) == []
    assert queue.revive_lanes() == 1
    assert _ready(queue, ids[1:]) == [ids[1]]
    assert queue.revive_lanes() == 0
    assert queue.counts().waiting == 1


@pytest.mark.parametrize("how", BY_HAND)
def test_a_worker_that_lost_a_job_to_another_program_lets_its_lane_go_on(queue: Queue, engine: Engine, how: str) -> None:
    ids = _lane(queue, 2, 1, 0)
    mine = claim_one(queue)
    _by_hand(engine, how, mine.id)
    assert queue.settle("tester:0001", [(mine, DONE)]) == [mine]
    assert _ready(queue, ids[1:]) == [ids[1]]


def test_lanes_are_looked_at_a_few_at_a_time_and_the_last_is_not_forgotten(queue: Queue, engine: Engine) -> None:
    queue.register({"by_folder": JobTypeFacts("{folder_id}")}, "test")
    folders = ["", "a", "b", "c", "z"]
    heads = [insert_raw(engine, job_type="by_folder", folder_id=folder) for folder in folders]
    others = [insert_raw(engine, job_type="by_folder", folder_id=folder) for folder in folders]
    queue.admit()
    for job_id in heads:
        _by_hand(engine, "deleted", job_id)
    assert [queue.revive_lanes(batch=2) for _ in range(4)] == [2, 2, 1, 0]
    assert _ready(queue, others) == others


def test_no_more_lanes_than_take_little_are_revived_in_one_transaction(queue: Queue, engine: Engine) -> None:
    number = REVIVED_AT_ONCE + 10
    insert_many(engine, number, job_type="'laned'", program_id="n", waits_for="'lane'", lane="'program:' || n", examined="true")
    assert [queue.revive_lanes() for _ in range(3)] == [REVIVED_AT_ONCE, 10, 0]


def test_looking_at_the_lanes_costs_a_look_into_indexes_for_each_of_them(queue: Queue, engine: Engine) -> None:
    over = {"status": "'completed'", "completed_at": time_text(engine, 60)}
    insert_many(engine, 20_000, job_type="'laned'", lane="'program:' || (n % 50)", **over)
    insert_many(engine, 20_000, job_type="'laned'", waits_for="'lane'", lane="'program:' || (n % 2)", examined="true")
    analyze(engine)
    for plan in plans(engine, "WITH RECURSIVE", queue.revive_lanes):
        assert "jobqueue_in_lane" in plan, plan
        assert not re.search(r"Seq Scan on indexing_jobs|SCAN indexing_jobs(?! USING)", plan), plan


def test_a_settle_does_not_lock_a_second_set_of_lanes_by_admitting(queue: Queue, engine: Engine) -> None:
    """Two workers who did, each with the other's lane in hand, would wait for each other."""
    mine = running(queue, job_type="laned", program_id=2)
    other = insert_raw(engine, job_type="laned", program_id=1)
    cycle = queue.settle_and_claim("tester:0001", [(mine, DONE)], "tester:0002", LANED, 1)
    assert cycle.claimed == []
    assert claim_one(queue, "tester:0003").id == other


JOBS, PROGRAMS, PROCESSES = 200, 5, 8


def _work(url: str, number: int) -> list[tuple[int, float, float]]:
    """Claim, hold, settle in all ways, and meddle, until nothing is left; returns (lane, from, to) of each attempt."""
    chance = random.Random(number)
    own = Queue(open_engine(url, connect_timeout=20), {each: RetryPolicy(backoff="none") for each in LANED}, chance)
    spans, idle, turn, held, tag, claimed = [], 0, 0, [], "", []
    while idle < 5:
        turn += 1
        try:
            claimed = own.settle_and_claim(tag, held, f"{number}:{turn}", (*LANED, "quick"), chance.choice((1, 1, 3))).claimed
        except DatabaseUnavailable as error:
            raise AssertionError(f"nothing here may deadlock or time out: {error}") from error
        tag, held = f"{number}:{turn}", []
        for mine in claimed:
            began = time.monotonic()
            time.sleep(chance.uniform(0, 0.002))
            if mine.lane:
                spans.append((mine.program_id, began, time.monotonic()))
            kind = chance.choices(
                (Kind.COMPLETED, Kind.FAILED, Kind.RELEASED, Kind.CANCELLED, Kind.CRASHED), (6, 2, 1, 1, 1)
            )[0]
            held.append((mine, Outcome(kind, "by chance")))
        if chance.random() < 0.1:
            own.cancel(chance.randint(1, JOBS))
        if chance.random() < 0.1:
            own.retry(chance.randint(1, JOBS))
        if chance.random() < 0.1:
            own.admit(20)
        if chance.random() < 0.1:
            own.heartbeat([tag])
        idle = 0 if claimed else idle + 1
    return spans


def test_no_two_jobs_of_a_lane_ever_run_together(queue: Queue, database_url: str, engine: Engine, backend: str) -> None:
    if backend == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            name = connection.execute(text("SELECT current_database()")).scalar_one()
            connection.execute(text(f"ALTER DATABASE \"{name}\" SET deadlock_timeout = '10ms'"))
    chance = random.Random(1)
    queue.enqueue([
        NewJob(chance.choice(LANED), chance.randint(1, PROGRAMS), priority=chance.randint(0, 3)) for _ in range(JOBS // 2)
    ])

    def act(number: int) -> list[Any]:
        return _work(database_url, number) if number else _insert_like_a_stranger(database_url)

    answers = in_processes(queue.engine, act, range(PROCESSES + 1))
    spans = sorted((tuple(span) for answer in answers for span in answer), key=lambda span: (span[0], span[1]))
    assert len(spans) > JOBS // 2
    for before, after in pairwise(spans):
        assert before[0] != after[0] or before[2] <= after[1], "two jobs of one lane overlapped"
    rest = _drain(queue)
    statuses = queue.counts()
    assert (statuses.running, statuses.pending) == (0, 0), f"left over after {rest} more"
    assert statuses.completed + statuses.failed + statuses.cancelled == JOBS


def _insert_like_a_stranger(url: str) -> list[Any]:
    chance, foreign = random.Random(99), foreign_engine(url)
    for _ in range(JOBS // 2):
        with foreign.begin() as connection:
            insert_raw(connection, job_type=chance.choice(LANED), program_id=chance.randint(1, PROGRAMS))
        time.sleep(0.003)
    return []


def _drain(queue: Queue) -> int:
    for count in range(1000):
        queue.admit()
        claimed = queue.claim(f"last:{count}", LANED, 10)
        queue.settle(f"last:{count}", [(each, DONE) for each in claimed])
        if not claimed:
            return count
    raise AssertionError("the queue never came to its end")
