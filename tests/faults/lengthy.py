"""The rows of the fault matrix that take minutes: each does its fault at full size and returns what it measured."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median

import psycopg

from backends import Queue, open_engine, upgrade
from tests.backends.scene import in_processes, insert_many, plans, time_text
from tests.chaos import witness
from tests.chaos.checker import check, gather
from tests.chaos.recovery import Distribution
from tests.chaos.world import World
from tests.postgres import PrivatePostgres
from tests.support import passes
from workers.pace import LONGEST_PAUSE
from workers.tallies import FLUSH_EVERY

from .asked import Asked
from .load import (
    Client,
    Load,
    all_claim_again,
    as_app,
    becomes,
    changes_of,
    expect_nothing_broken,
    restart_with,
    server_of,
    world_of,
)
from .mix import TYPES, Actor

CLAIMS = 20
GROWN = 3.0
"""How many times as long a claim from a million ready jobs may take as one from a thousand, in the median of `CLAIMS`."""


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
    random, took = Random(asked.seed), Distribution()
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
    """D7: how a claim is planned with 0, a hundred, a thousand and a million ready jobs beside 100,000 finished ones."""
    lines, medians = [], {}
    for ready in (0, 100, 1_000, 1_000_000):
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
        took = [_milliseconds_of_a_claim(queue, number) for number in range(CLAIMS)]
        medians[ready] = median(took)
        lines.append(f"{ready} ready: index jobqueue_ready, in order; {CLAIMS} claims of 10: median {medians[ready]:.1f} ms")
        engine.dispose()
        server.remove()
    assert medians[1_000_000] <= GROWN * medians[1_000], lines
    return "\n".join(lines)


def _milliseconds_of_a_claim(queue: Queue, number: int) -> float:
    began = time.perf_counter()
    assert len(queue.claim(f"timed:{number}", ("quick",), 10)) in (0, 10)
    return 1000 * (time.perf_counter() - began)


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
    assert not deadlocks, f"{deadlocks} deadlocks: somebody locks jobs in another order than that of their ids"
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


PROCESSES = 60
MOST_URGENT = 0.5
"""Seconds at least between two calls of a worker that has an outcome to settle while its lease lasts."""

MAINTENANCE = 3
SERVED = 20 - 3
"""Of 20 connections the server keeps three for superusers; maintenance asks for three of the others."""


def connections(asked: Asked) -> str:
    """D10: 60 workers that had their connections are left with 20 for all, and then have 100 again."""
    with _world("max_connections = 100\nlog_connections = on\nlog_min_messages = log", workers=PROCESSES) as world:
        as_app(world)
        scene = world.scenes[0]
        scene.settings |= {"poll_interval": 1, "lock_timeout": 30, "heartbeat_interval": 5}
        world.start()
        log = server_of(world).postgres.folder / "log"

        def asked_for() -> int:
            return log.read_text().count("connection received")

        with Load(world, every=0.02, seconds=1.0, effects=0):
            all_claim_again(world, time.time(), within=120)  # sixty new processes on however few cores
            restart_with(world, 20)
            before, seconds = asked_for(), 30.0
            passes(seconds)  # as long as a lease: whoever could not settle has given that up, and pauses are at their longest
            at_first = (asked_for() - before) / seconds
            before, seconds = asked_for(), 30 * asked.minutes
            passes(seconds)
            rate = (asked_for() - before) / seconds
            restart_with(world, 100)
            before, back = asked_for(), time.time()
            took = all_claim_again(world, back)
            after = asked_for() - before
        ends = len(scene.events("worker.lost"))
        expect_nothing_broken(world)
    unserved = PROCESSES + MAINTENANCE - SERVED
    assert at_first <= unserved / MOST_URGENT, f"{at_first:.1f} connections a second were asked for at first"
    assert rate <= unserved * (2 / LONGEST_PAUSE + 1 / FLUSH_EVERY), f"{rate:.1f} connections a second were asked for"
    assert after <= 2 * (PROCESSES + MAINTENANCE), f"{after} connections were asked for when there were enough"
    assert ends == 0, f"{ends} workers were lost"
    return (
        f"{at_first:.1f} connections a second were asked for in the first 30 s, {rate:.1f} then,"
        f" while {SERVED} of {PROCESSES + MAINTENANCE} could be had; all claimed"
        f" {took:.2f} s after there were enough, with {after} connections asked for; no worker was lost"
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
        ended = [event for name in ("maintenance.lost", "worker.lost") for event in world.scenes[0].events(name)]
        client.close()
        expect_nothing_broken(world)
    assert leases == [1, 1, 1, 1], f"jobs were taken from their workers: {leases}"
    assert not ended, ended
    return "four jobs ran once each, no worker and no maintenance was replaced, 0 violations"


ROWS: dict[str, Callable[[Asked], str]] = {
    "crashes": crashes, "planner": planner, "locks": locks, "connections": connections, "slow": slow,
}
