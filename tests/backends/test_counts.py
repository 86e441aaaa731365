"""Counts: whatever was done, the counters say what counting the rows would say, on both databases alike."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text

from backends import (
    FINAL,
    Death,
    Job,
    JobTypeFacts,
    Kind,
    NewJob,
    Outcome,
    Queue,
    Status,
    indexing_jobs,
    open_engine,
    recount,
)
from tests.backends.scene import change, in_processes, insert_many, insert_raw, plans, row, running, time_text

TYPES = ("quick", "other", "laned", "also_laned")
COLUMNS = ("id", "program_id", "status", "retry_count", "max_retries", "interruptions", "lease", "locked_by", "lane", "waits_for",
           "priority", "error_message")
job = indexing_jobs.c


def counted(queue: Queue, program_id: int | None = None) -> dict[str, int]:
    """What counting the rows says."""
    statement = select(job.status, job.waits_for, func.count()).group_by(job.status, job.waits_for)
    if program_id is not None:
        statement = statement.where(job.program_id == program_id)
    numbers = dict.fromkeys((*Status, "scheduled", "waiting"), 0)
    for status, waits_for, number in queue.read(lambda connection: connection.execute(statement).all()):
        numbers[status] += number
        if status == Status.PENDING and waits_for in ("time", "lane"):
            numbers["scheduled" if waits_for == "time" else "waiting"] += number
    return numbers


def told(queue: Queue, program_id: int | None = None) -> dict[str, int]:
    """What the counters say."""
    counts = queue.counts(program_id)
    return {name: getattr(counts, name) for name in (*Status, "scheduled", "waiting")}


class Walk:
    """A random walk over the verbs, the same for the same seed; keeps what each step answered."""

    def __init__(self, queue: Queue, seed: int) -> None:
        self.queue, self.chance = queue, Random(seed)
        self.held: dict[str, list[Job]] = {}
        self.ids: list[int] = []
        self.turn = 0
        self.answers: list[Any] = []

    def step(self) -> None:
        """Do one thing."""
        self.turn += 1
        verbs = (self.enqueue, self.insert, self.claim, self.settle, self.both, self.release, self.reclaim, self.expire,
                 self.cancel, self.retry, self.admit, self.fold, self.prune, self.make_due, self.reset_stuck, self.change_lanes,
                 self.recount)
        verb = self.chance.choices(verbs, (6, 3, 8, 8, 6, 1, 2, 0.3, 3, 3, 3, 2, 0.5, 3, 0.3, 0.5, 0.5))[0]
        self.answers.append((verb.__name__, verb()))

    def enqueue(self) -> Any:
        jobs = [
            NewJob(
                self.chance.choice(TYPES), self.chance.randint(1, 3), priority=self.chance.randint(0, 2),
                unique_key=self.chance.choice([None, None, f"key {self.chance.randint(1, 9)}"]),
            )
            for _ in range(self.chance.randint(1, 4))
        ]
        ids = self.queue.enqueue(jobs)
        self.ids += ids
        return ids

    def insert(self) -> Any:
        ahead = self.chance.choice([None, 3600])
        at = datetime.now(UTC) + timedelta(seconds=ahead) if ahead else None
        self.ids.append(insert_raw(self.queue.engine, job_type=self.chance.choice((*TYPES, "novel")),
                                   program_id=self.chance.randint(1, 3), **({"scheduled_at": at} if at else {})))

    def _tag(self) -> str:
        return f"walker:{self.turn}"

    def _held(self) -> str:
        return self.chance.choice([*self.held, "nobody:0"])

    def _outcomes(self, tag: str) -> list[tuple[Job, Outcome]]:
        kinds = [Kind.COMPLETED] * 6 + list(Kind)
        return [
            (each._replace(lease=each.lease + (self.chance.random() < 0.05)),
             Outcome(self.chance.choice(kinds), "by chance", after=3600.0))
            for each in self.held.pop(tag, [])
        ]

    def claim(self) -> Any:
        claimed = self.queue.claim(self._tag(), TYPES, self.chance.randint(1, 5))
        self.held[self._tag()] = claimed
        return [(each.id, each.lease) for each in claimed]

    def settle(self) -> Any:
        tag = self._held()
        return sorted(each.id for each in self.queue.settle(tag, self._outcomes(tag)))

    def both(self) -> Any:
        tag = self._held()
        cycle = self.queue.settle_and_claim(tag, self._outcomes(tag), self._tag(), TYPES, self.chance.randint(1, 5))
        self.held[self._tag()] = cycle.claimed
        return sorted(each.id for each in cycle.lost), [each.id for each in cycle.claimed]

    def release(self) -> Any:
        return self.queue.release([self._held()], "drained", self.chance.random() < 0.5)

    def reclaim(self) -> Any:
        tag = self._held()
        victim = (self.held.get(tag) or [None])[0]
        death = Death((tag,), victim.id if victim else 0, victim.lease if victim else 0, Kind.CRASHED, "died")
        return [(each.job_id, each.status) for each in self.queue.reclaim(death)]

    def expire(self) -> Any:
        return sorted((each.job_id, each.status) for each in self.queue.reclaim_expired(-1000.0))

    def cancel(self) -> Any:
        return str(self.queue.cancel(self.chance.choice([*self.ids, 0])))

    def retry(self) -> Any:
        return str(self.queue.retry(self.chance.choice([*self.ids, 0])))

    def admit(self) -> Any:
        return self.queue.admit(self.chance.randint(1, 20))

    def fold(self) -> Any:
        return self.queue.fold_counts() >= 0

    def prune(self) -> Any:
        return self.queue.prune(dict.fromkeys(FINAL, -10.0), batch=self.chance.randint(1, 20)).gone

    def make_due(self) -> Any:
        if self.ids:
            change(self.queue.engine, self.chance.choice(self.ids), scheduled_at=datetime.now(UTC) - timedelta(seconds=1))

    def reset_stuck(self) -> Any:
        program_id = self.chance.randint(1, 3)
        return sorted((each.job_id, each.status) for each in self.queue.reset_stuck(program_id, -1000.0))

    def change_lanes(self) -> Any:
        self.queue.register({"laned": JobTypeFacts(self.chance.choice(["program:{program_id}", "all", None]))}, "test")

    def recount(self) -> Any:
        recount(self.queue.engine)

    def rows(self) -> list[Any]:
        """All jobs, as far as both databases must agree on them."""
        columns = [job[name] for name in COLUMNS]
        return self.queue.read(lambda connection: [tuple(row) for row in connection.execute(select(*columns).order_by(job.id))])


@pytest.mark.parametrize("seed", range(4))
def test_after_any_mix_of_verbs_the_counters_are_right_and_both_databases_agree(
    two_queues: tuple[Queue, Queue], seed: int
) -> None:
    walks = [Walk(queue, seed) for queue in two_queues]
    for number in range(220):
        for walk in walks:
            walk.step()
        assert walks[0].answers[-1] == walks[1].answers[-1], f"step {number}"
        if number % 20 == 0:
            for walk in walks:
                assert told(walk.queue) == counted(walk.queue), f"step {number}: {walk.answers[-20:]}"
                assert told(walk.queue, 2) == counted(walk.queue, 2)
    assert walks[0].rows() == walks[1].rows()
    for walk in walks:
        _see_every_lane_go_on(walk.queue)
        while walk.queue.fold_counts():
            pass
        assert told(walk.queue) == counted(walk.queue)


def _see_every_lane_go_on(queue: Queue) -> None:
    """Where a job waits for its lane, another of that lane is ready or runs."""
    while queue.admit():
        pass
    columns = (job.lane, job.status, job.ready_at, job.waits_for)
    rows = queue.read(lambda connection: connection.execute(select(*columns).where(job.lane.is_not(None))).all())
    waiting = {each.lane for each in rows if each.waits_for == "lane"}
    going = Counter(each.lane for each in rows if each.status == Status.RUNNING or each.ready_at is not None)
    assert waiting <= set(going)
    assert set(going.values()) <= {1}


def test_counts_do_not_flicker_while_others_fold_and_settle(queue: Queue, database_url: str) -> None:
    insert_many(queue.engine, 300)
    queue.admit()

    def act(number: int) -> list[int]:
        own = Queue(open_engine(database_url))
        if number == 0:
            for turn in range(40):
                claimed = own.claim(f"t:{turn}", TYPES, 5)
                own.settle(f"t:{turn}", [(each, Outcome(Kind.COMPLETED)) for each in claimed])
            return []
        if number == 1:
            return [own.fold_counts() for _ in range(60)]
        return [own.counts().completed for _ in range(60)]

    _, _, seen = in_processes(queue.engine, act, range(3))
    assert seen == sorted(seen)
    assert told(queue)["completed"] == 200


def test_a_raw_insert_is_counted_and_one_rolled_back_is_not(queue: Queue, engine: Engine) -> None:
    insert_raw(engine)
    with engine.connect() as connection:
        insert_raw(connection)
        connection.rollback()
    assert told(queue)["pending"] == 1


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_raw_insert_of_a_job_that_is_over_is_counted_as_such(queue: Queue, engine: Engine, status: str) -> None:
    insert_raw(engine, status=status)
    assert (told(queue)["pending"], told(queue)[status]) == (0, 1)


def test_the_oldest_pending_job_is_told(queue: Queue) -> None:
    mine = running(queue)
    assert queue.counts().oldest_pending is None
    first, _ = queue.enqueue([NewJob("quick", 1), NewJob("quick", 1)])
    (other,) = queue.enqueue([NewJob("quick", 2)])
    oldest = queue.counts().oldest_pending
    assert oldest is not None
    assert oldest.id == first != mine.id
    assert getattr(queue.counts(2).oldest_pending, "id", None) == other
    assert queue.counts(3).oldest_pending is None


def test_folding_leaves_one_number_for_each_counter(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 50, program_id="n % 2")
    while queue.fold_counts():
        pass
    with engine.connect() as connection:
        totals = connection.execute(text("SELECT program_id, counter, total FROM jobqueue_counts ORDER BY 1, 2")).all()
    assert [tuple(each) for each in totals] == [(0, "created", 25), (1, "created", 25)]
    assert queue.counts(0).pending == 25


def test_counting_reads_no_history(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 20_000, status="'completed'", completed_at=time_text(engine, 60))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM jobqueue_count_deltas"))  # as if their whole story had been counted
    insert_many(engine, 10, examined="true", ready_at=time_text(engine, 1))
    queue.fold_counts()
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
    for plan in plans(engine, "indexing_jobs", queue.counts):
        assert "Seq Scan on indexing_jobs" not in plan, plan
        assert not re.search(r"SCAN indexing_jobs$", plan, re.MULTILINE), plan
        assert "indexing_jobs_pkey" not in plan or "Index Cond: (id =" in plan, plan


def test_the_oldest_is_found_wherever_it_waits(queue: Queue, engine: Engine) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    waiting = [
        *queue.enqueue([NewJob("quick", 1), NewJob("laned", 1), NewJob("laned", 1), NewJob("quick", 1, scheduled_at=ahead)]),
        insert_raw(engine, job_type="novel"),
    ]
    queue.admit()
    waiting.append(insert_raw(engine))
    for oldest in waiting:
        for found in (queue.counts().oldest_pending, queue.counts(1).oldest_pending):
            assert found is not None
            assert found.id == oldest
        queue.cancel(oldest)
    assert queue.counts().oldest_pending is None


@pytest.mark.parametrize("parameters", ["[1, 2", "[1]", '"text"', "[" * 100_000, "1" * 10_000, ""])
def test_parameters_that_are_no_json_object_are_shown_as_they_are(queue: Queue, engine: Engine, parameters: str) -> None:
    job_id = insert_raw(engine, job_parameters=parameters)
    view = queue.get(job_id)
    assert view is not None
    assert view.parameters == ({"invalid": parameters} if parameters else {})
    assert row(queue, job_id).job_parameters == parameters
