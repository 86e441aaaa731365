"""The rows of the fault matrix that take minutes: each does its fault at full size and returns what it measured."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import psycopg

from backends import Job, Kind, NewJob, Outcome, Queue, open_engine, upgrade
from tests.backends.scene import in_processes, insert_many, plans, time_text
from tests.chaos import witness
from tests.chaos.checker import check, gather
from tests.chaos.recovery import Distribution
from tests.chaos.world import World
from tests.postgres import PrivatePostgres

from .asked import Asked
from .load import Client, Load, all_claim_again, becomes, changes_of, expect_nothing_broken, passes, server_of, world_of
from .mix import TYPES, Actor

DURABLE = "fsync = on\nfull_page_writes = on"


@contextmanager
def _world(settings: str = "", workers: int = 2) -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="jobqueue-faults-", dir="/tmp") as folder:
        world = world_of(Path(folder), settings, workers)
        try:
            yield world
        finally:
            world.close()


def crashes(asked: Asked) -> str:
    """D1: the server crashes every 10 to 40 s and stays away for 0 to 30 s."""
    random, took = Random(1), Distribution()
    with _world() as world:
        world.start()
        over = time.monotonic() + 60 * asked.minutes
        with Load(world, world.database.url, every=0.1):
            while time.monotonic() < over:
                world.database.take_away("immediate")
                passes(random.choice([0.0, 1.0, 5.0, random.uniform(0, 30)]))
                world.database.give_back()
                world.engine.dispose()
                took.append(all_claim_again(world, time.time()))
                passes(random.uniform(10, 40))
        expect_nothing_broken(world)
        return f"from the server's return until all workers claimed: {took}; {len(world.evidence().rows)} jobs, 0 violations"


def planner(asked: Asked) -> str:
    """D7: how a claim is planned with 0, 100 and a million ready jobs beside 100,000 finished ones."""
    lines = []
    for ready in (0, 100, 1_000_000):
        server = PrivatePostgres().start()
        engine = open_engine(server.url(), statement_timeout=600)
        upgrade(engine)
        insert_many(engine, 100_000, status="'completed'", completed_at=time_text(engine, 60))
        if ready:
            insert_many(engine, ready, examined="true", ready_at=time_text(engine, 1), priority="n % 10")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE indexing_jobs")
        queue = Queue(engine)
        [plan] = plans(engine, "UPDATE indexing_jobs", lambda queue=queue: queue.claim("t:1", ("quick",), 10))[:1]
        assert re.search("using jobqueue_ready", plan, re.IGNORECASE), plan
        assert not re.search("Seq Scan|Sort", plan), plan
        began = time.perf_counter()
        queue.claim("t:2", ("quick",), 10)
        took = 1000 * (time.perf_counter() - began)
        lines.append(f"{ready} ready: index jobqueue_ready, in order; a claim of 10 took {took:.1f} ms")
        engine.dispose()
        server.remove()
    return "\n".join(lines)


def horizon(asked: Asked) -> str:
    """D8: 500 jobs a second, with nobody, with a REPEATABLE READ transaction held open, and after it ended."""
    server = PrivatePostgres(DURABLE).start()
    try:
        engine = open_engine(server.url())
        upgrade(engine)
        Queue(engine).register({"plain": TYPES["plain"]}, "horizon")
        engine.dispose()
        phases = {"before": 60 * asked.minutes / 5, "held": 60 * asked.minutes * 3 / 5, "after": 60 * asked.minutes / 5}
        answers = in_processes(
            engine, lambda number: _PARTS[number](server.url(), phases), range(len(_PARTS)), within=90 * asked.minutes + 60
        )
        return "\n".join(line for answer in answers if answer for line in answer)
    finally:
        server.remove()


def _adds(url: str, phases: dict[str, float]) -> None:
    queue, over, due = Queue(open_engine(url)), time.monotonic() + sum(phases.values()), time.monotonic()
    while (now := time.monotonic()) < over:
        if queue.counts().pending < 2000:
            queue.enqueue([NewJob("plain", 1) for _ in range(50)])
        due += 0.1
        time.sleep(max(0.0, due - now))


def _works(url: str, phases: dict[str, float]) -> list[str]:
    queue, lines = Queue(open_engine(url)), []
    done: list[tuple[Job, Outcome]] = []
    turn = 0
    for name, seconds in phases.items():
        took, number, over = Distribution(), 0, time.monotonic() + seconds
        while time.monotonic() < over:
            began = time.perf_counter()
            claimed = queue.settle_and_claim(f"w:{turn}", done, f"w:{turn + 1}", ("plain",), 10).claimed
            took.append(1000 * (time.perf_counter() - began))
            turn, number = turn + 1, number + len(claimed)
            done = [(each, Outcome(Kind.COMPLETED)) for each in claimed]
            if len(claimed) < 10:
                time.sleep(0.01)
        ordered = sorted(took)
        middle, high = ordered[len(took) // 2], ordered[int(0.99 * len(took))]
        lines.append(f"{name}: {number / seconds:.0f} jobs/s, a settle-and-claim: median {middle:.2f} ms, p99 {high:.2f} ms")
    return lines


def _maintains(url: str, phases: dict[str, float]) -> list[str]:
    queue, oldest = Queue(open_engine(url)), 0.0
    over = time.monotonic() + sum(phases.values())
    while time.monotonic() < over:
        queue.admit()
        queue.fold_counts()
        oldest = max(oldest, queue.measures(30.0).oldest_transaction or 0.0)
        time.sleep(1.0)
    return [f"the oldest transaction as /metrics told it: {oldest:.0f} s"]


def _holds(url: str, phases: dict[str, float]) -> None:
    time.sleep(phases["before"])
    with psycopg.connect(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM indexing_jobs")
        time.sleep(phases["held"])


_PARTS: tuple[Callable[[str, dict[str, float]], list[str] | None], ...] = (_adds, _works, _maintains, _holds)


def locks(asked: Asked) -> str:
    """D9: everybody does everything to the same jobs; then the table is locked for a minute under a supervisor."""
    server = PrivatePostgres("deadlock_timeout = 10ms").start()
    with tempfile.TemporaryDirectory(prefix="jobqueue-faults-", dir="/tmp") as folder:
        engine = open_engine(server.url())
        upgrade(engine)
        witness.install(engine)
        Queue(engine).register(TYPES, "mix")
        refused = in_processes(
            engine, lambda number: Actor(server.url(), Path(folder), number).run(60 * asked.minutes), range(1, 7),
            within=90 * asked.minutes + 60,
        )
        evidence = gather(engine, Path(folder), drained=False)
        violations = check(evidence)
        with engine.connect() as connection:
            deadlocks = connection.exec_driver_sql("SELECT sum(deadlocks) FROM pg_stat_database").scalar()
        engine.dispose()
    server.remove()
    assert not violations, violations
    with _world() as world:
        world.start()
        with Load(world, world.database.url):
            with psycopg.connect(world.database.own_url) as connection:
                connection.execute("LOCK TABLE indexing_jobs IN ACCESS EXCLUSIVE MODE")
                passes(60)
            took = all_claim_again(world, time.time())
        expect_nothing_broken(world)
    return (
        f"{len(evidence.changes)} changes of {len({each.job for each in evidence.changes})} jobs by 6 processes, 0 violations,"
        f" deadlocks: {deadlocks}, refused: {refused}\ntable locked for 60 s: all claimed {took:.2f} s after"
    )


def connections(asked: Asked) -> str:
    """D10: 60 workers on a server with 20 connections, then with 100."""
    with _world("max_connections = 20\nlog_connections = on\nlog_min_messages = log", workers=60) as world:
        with psycopg.connect(world.database.own_url, autocommit=True) as owner:
            for statement in ("CREATE ROLE app LOGIN", "GRANT ALL ON ALL TABLES IN SCHEMA public TO app",
                              "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app"):
                owner.execute(statement)
        scene = world.scenes[0]
        scene.settings |= {
            "database_url": world.database.url.replace("postgres@", "app@"), "poll_interval": 1, "lock_timeout": 30,
            "heartbeat_interval": 5,
        }
        world.start()
        log = server_of(world).postgres.folder / "log"
        with Load(world, every=0.02, seconds=1.0, effects=0):
            before = log.read_text().count("connection received")
            passes(30 * asked.minutes)
            attempts = (log.read_text().count("connection received") - before) / (30 * asked.minutes)
            with psycopg.connect(world.database.own_url, autocommit=True) as owner:
                owner.execute("ALTER SYSTEM SET max_connections = 100")
            world.database.take_away("fast")
            world.database.give_back()
            world.engine.dispose()
            before, back = log.read_text().count("connection received"), time.time()
            took = all_claim_again(world, back, within=30)
            after = log.read_text().count("connection received") - before
        ends = len(scene.events("worker.lost"))
        expect_nothing_broken(world)
    return (
        f"{attempts:.1f} connections a second were asked for while 20 of 64 could be had; all 60 claimed {took:.2f} s after there"
        f" were enough, with {after} connections asked for; workers lost: {ends}"
    )


def slow(asked: Asked) -> str:
    """N2: round trips of 0.5 to 1 s under leases of 30 s; then resets for a minute."""
    with _world() as world:
        world.scenes[0].settings |= {"lock_timeout": 30, "heartbeat_interval": 5, "poll_interval": 1}
        world.start()
        proxy, client = server_of(world).proxy, Client(world)
        proxy.delay = 0.5
        held = [client.add(seconds=45 * asked.minutes, effects=1) for _ in range(2)]
        for job_id in held:
            becomes(world, job_id, "completed", within=60 * asked.minutes + 60)  # type: ignore[arg-type]
        proxy.delay = 0.0
        torn = [client.add(seconds=30 * asked.minutes) for _ in range(2)]
        for _ in range(int(60 * asked.minutes)):
            passes(0.5)
            proxy.cut()
        for job_id in torn:
            becomes(world, job_id, "completed", within=60 * asked.minutes + 60)  # type: ignore[arg-type]
        leases = [change.lease for job_id in held + torn for change in changes_of(world, job_id) if change.became == "running"]
        replaced = len(world.scenes[0].events("maintenance.lost"))
        client.close()
        expect_nothing_broken(world)
    return f"leases of four jobs: {leases} (1: never taken back), maintenance replaced {replaced} times, 0 violations"


ROWS: dict[str, Callable[[Asked], str]] = {
    "crashes": crashes, "planner": planner, "horizon": horizon, "locks": locks, "connections": connections, "slow": slow,
}
