"""What a Postgres server may do to a queue: crash, hang, refuse, become read-only, lose an answer, hold locks, be full."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from sqlalchemy import Engine, text

from backends import DatabaseUnavailable, JobTypeFacts, Kind, NewJob, Outcome, Queue, Status, as_unavailable, open_engine, upgrade
from tests.backends.scene import in_processes
from tests.chaos import witness
from tests.chaos.checker import check, gather
from tests.chaos.world import World
from tests.postgres import PrivatePostgres
from tests.supervisor.scene import Scene
from tests.support import eventually, passes
from workers.pace import LONGEST_PAUSE

from .load import (
    LOCK_TIMEOUT,
    RECOVERY,
    Client,
    Load,
    all_claim_again,
    as_app,
    becomes,
    changes_of,
    completed,
    expect_nothing_broken,
    last_signs,
    restart_with,
    server_of,
    world_of,
)
from .mix import TYPES, Actor


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A world with one supervisor of two workers; a parameter is `workers` or settings of the server."""
    world = world_of(tmp_path, **getattr(request, "param", {}))
    yield world
    world.close()


def administer(world: World, *statements: str) -> list[Any]:
    """Do something as the server's owner, past the proxy; returns the first column of the last statement's rows."""
    options = "-c default_transaction_read_only=off -c application_name=owner"
    with psycopg.connect(world.database.own_url, autocommit=True, options=options) as connection:
        for statement in statements:
            done = connection.execute(statement.encode())
        return [row[0] for row in done.fetchall()] if done.description else []


# D1, D2


def test_a_server_that_crashes_again_and_again_is_claimed_from_again_in_time_after_each(world: World) -> None:
    world.start()
    with Load(world, world.database.url):
        for away in (0.0, 0.5, 1.5):
            world.database.take_away("immediate")
            passes(away)
            world.database.give_back()
            world.engine.dispose()
            all_claim_again(world, time.time())
    expect_nothing_broken(world)


def test_jobs_end_and_no_process_does_while_all_connections_are_terminated_every_200_ms(world: World) -> None:
    world.start()
    terminate = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IS NOT NULL AND application_name <> 'owner'"
    )
    with Load(world, world.database.url):
        all_claim_again(world, time.time())
        for _ in range(2):
            began = time.time()
            for _ in range(10):
                assert administer(world, terminate)
                passes(0.2)
            world.engine.dispose()
            assert completed(world, began) > 0
        all_claim_again(world, time.time())
    assert [each for name in ("worker.lost", "maintenance.lost") for each in world.scenes[0].events(name)] == []
    expect_nothing_broken(world)


# S6


def test_the_job_of_a_worker_that_dies_while_the_server_is_away_runs_again_soon_after_it_is_back(world: World) -> None:
    [scene] = world.scenes
    scene.settings["lock_timeout"] = 30.0  # so that it is not its lease that ends
    world.start()
    client = Client(world)
    job_id = client.add(seconds=60.0)
    victim = eventually(lambda: next((each["pid"] for each in scene.status["workers"] if each["job_id"] == job_id), 0))
    world.database.take_away("immediate")
    os.kill(victim, signal.SIGKILL)
    scene.seen("worker.lost", pid=victim)
    passes(1.0)
    world.database.give_back()
    back = time.time()
    world.engine.dispose()
    becomes(world, job_id, Status.RUNNING)
    eventually(lambda: [each.became for each in changes_of(world, job_id)] == ["pending", "running", "pending", "running"])
    assert changes_of(world, job_id)[-1].at - back < RECOVERY
    world.queue.cancel(job_id)
    client.close()
    world.drain(within=60)
    assert check(world.evidence()) == []


# D3


def backends_of(world: World, application: str) -> list[int]:
    """The server's processes that serve connections of this name, in the order of their age."""
    return administer(world, f"SELECT pid FROM pg_stat_activity WHERE application_name = '{application}' ORDER BY backend_start")


@contextlib.contextmanager
def stopped(*processes: int) -> Iterator[None]:
    """These processes are stopped for a while."""
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def stopped_between_locks(world: World, application: str, place: int) -> Iterator[float]:
    """One backend is stopped for a while, at a moment when it holds none of the locks without which no other can write.

    Yields when it was stopped, in seconds of the epoch.
    """

    effect = "INSERT INTO witness_effects (job_id, lease) VALUES (0, 0)"
    write_and_flush = "SELECT pg_logical_emit_message(true, 'owner', '')"
    with ThreadPoolExecutor(1) as owner:
        for _ in range(20):
            with stopped(backends_of(world, application)[place]):
                began = time.time()
                write = owner.submit(administer, world, "BEGIN", effect, "ROLLBACK", write_and_flush)
                # A commit that waits for the flush of another can not be cancelled: it ends when the backend goes on.
                if wait([write], timeout=0.5).done:
                    write.result()
                    yield began
                    return
    raise AssertionError("twenty times the backend was stopped while it held up the whole server")


def test_a_stopped_backend_of_a_worker_is_given_up_and_the_worker_claims_again_within_the_lock_timeout(world: World) -> None:
    """A worker waits for a quarter of `lock_timeout` and 2 s, and pauses before it asks anew: 3 s would be too short for that."""
    lock_timeout = 2 * LOCK_TIMEOUT
    [scene] = world.scenes
    scene.settings["lock_timeout"] = lock_timeout
    world.start()
    with Load(world, world.database.url, effects=0):  # a worker in a transaction of its handler is ended sooner
        all_claim_again(world, time.time())
        for place in (0, -1):
            with stopped_between_locks(world, "jobqueue worker", place) as began:
                all_claim_again(world, began, within=lock_timeout)
    assert not scene.events("worker.fenced")
    assert not scene.events("worker.lost")
    expect_nothing_broken(world)


def test_a_stopped_backend_of_any_thread_of_maintenance_costs_no_job_its_lease(world: World) -> None:
    """Maintenance is given up after a third of `lock_timeout`; the one that follows it must be up before the lease is over."""
    lock_timeout = 2 * LOCK_TIMEOUT
    world.scenes[0].settings["lock_timeout"] = lock_timeout
    world.start()
    client = Client(world)
    job_id = client.add(seconds=60.0)
    becomes(world, job_id, Status.RUNNING)
    for number in range(3):  # its main thread, its renewal thread, the one that listens
        eventually(lambda: len(backends_of(world, "jobqueue maintenance")) >= 3)
        with stopped_between_locks(world, "jobqueue maintenance", number):
            began = time.time()
            eventually(lambda since=began: is_looked_after(world, job_id, since), within=lock_timeout)  # type: ignore[misc]
            becomes(world, client.add(), Status.COMPLETED, within=lock_timeout)
    assert [each.became for each in changes_of(world, job_id)] == ["pending", "running"]
    world.queue.cancel(job_id)
    client.close()
    expect_nothing_broken(world)


def is_looked_after(world: World, job_id: int, since: float) -> bool:
    """Whether both threads of maintenance did their work after `since`: the lease is renewed, and the supervisor reported."""
    [renewed] = administer(world, f"SELECT extract(epoch FROM locked_at)::float FROM indexing_jobs WHERE id = {job_id}")
    return renewed > since and min(each.age for each in world.queue.supervisors()) < time.time() - since


def test_workers_end_what_they_run_before_its_lease_is_over_when_the_whole_server_hangs(world: World) -> None:
    world.start()
    client = Client(world)
    held = [client.add(seconds=60.0, effects=0) for _ in range(2)]
    for job_id in held:
        becomes(world, job_id, Status.RUNNING)
    world.engine.dispose()
    client.close()
    postmaster = psutil.Process(server_of(world).postgres.pid())
    frozen = time.time()
    with stopped(postmaster.pid), stopped(*(each.pid for each in postmaster.children())):  # it first: it has no more then
        passes(LOCK_TIMEOUT + 1)
        assert max(last_signs(world, held)) - frozen < LOCK_TIMEOUT
        assert world.scenes[0].status["state"] == "running"
    thawed = time.time()
    for job_id in held:
        world.queue.cancel(job_id)
    with Load(world, world.database.url):
        all_claim_again(world, thawed)
    expect_nothing_broken(world)


# D4


def test_a_server_that_turns_read_only_is_left_and_found_again_when_it_takes_writes(world: World) -> None:
    world.start()
    with Load(world, world.database.url):
        all_claim_again(world, time.time())
        administer(world, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        world.scenes[0].seen("database.lost", seen_by="maintenance")
        world.scenes[0].seen("database.unavailable")
        passes(1.0)
        administer(world, "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")
        all_claim_again(world, time.time())
    assert any("read-only" in event["reason"] for event in world.scenes[0].events("database.unavailable"))
    expect_nothing_broken(world)


# D6


def is_commit(request: bytes) -> bool:
    return request.endswith((b"COMMIT\0", b"COMMIT;\0"))


def test_an_enqueue_whose_commit_was_not_answered_is_one_job_however_often_it_is_repeated_under_its_key(world: World) -> None:
    proxy, client = server_of(world).proxy, Client(world, world.database.url)
    ways: tuple[Callable[[NewJob], int | None], ...] = (client.ask, lambda new: ask_in_a_transaction(client, new))
    for ask in ways:
        new = client.new(effects=0)
        proxy.lose_next_answer(is_commit)
        assert ask(new) is None
        [kept] = administer(world, f"SELECT id FROM indexing_jobs WHERE unique_key = '{new.unique_key}'")
        assert [ask(new), ask(new)] == [kept, kept]
    assert proxy.lost_answers == 2
    client.close()
    world.start()
    expect_nothing_broken(world)


def ask_in_a_transaction(client: Client, new: NewJob) -> int | None:
    """Enqueue in a transaction of the caller's."""
    client.note("invoke", new)
    try:
        with as_unavailable(), client.queue.engine.begin() as connection:
            [job_id] = client.queue.enqueue([new], connection)
    except DatabaseUnavailable:
        client.note("unknown", new)
        return None
    client.note("ok", new, job_id)
    return job_id


ONE_WORKER = pytest.mark.parametrize("world", [{"workers": 1}], indirect=True)


def asks_for_jobs(request: bytes) -> bool:
    """A worker's claim, alone or together with what it settles: it names its own tag and all job types."""
    return b"one-1:" in request and b"steady" in request


@ONE_WORKER
def test_a_claim_whose_answer_was_lost_is_given_back_at_once_unspent_and_not_kept_alive(world: World) -> None:
    world.start()
    scene, client, proxy = world.scenes[0], Client(world), server_of(world).proxy
    quieten(scene)
    job_id = client.add()
    proxy.lose_next_answer(asks_for_jobs)
    scene.send(signal.SIGUSR2)
    job = becomes(world, job_id, Status.COMPLETED)
    assert (proxy.lost_answers, job.retry_count, job.interruptions) == (1, 0, 0)
    _, claimed, released, again, done = changes_of(world, job_id)
    assert [each.became for each in (claimed, released, again, done)] == ["running", "pending", "running", "completed"]
    assert claimed.tag == released.tag != again.tag == done.tag
    assert (claimed.lease, again.lease) == (1, 2)
    assert released.at - claimed.at < 1.0  # not after the lock timeout: it was given back, not given up
    client.close()
    expect_nothing_broken(world)


def quieten(scene: Scene) -> None:
    """Have the supervisor claim nothing more; no claim is under way when this returns."""
    scene.send(signal.SIGUSR2)
    eventually(lambda: scene.status["state"] == "quiet" and {each["phase"] for each in scene.status["workers"]} == {"idle"})


@ONE_WORKER
@pytest.mark.parametrize("fails", [0.0, 1.0], ids=["a success", "a failure"])
def test_an_outcome_whose_answer_was_lost_is_settled_once_under_the_same_tag(world: World, fails: float) -> None:
    world.start()
    scene, client, proxy = world.scenes[0], Client(world), server_of(world).proxy
    job_id = client.add(seconds=0.6, fails=fails, effects=0)
    becomes(world, job_id, Status.RUNNING)
    next_one = client.add(effects=0)
    if fails:
        proxy.lose_next_answer(is_commit, on=lambda request: b"INTO jobqueue_job_attempts" in request)
    else:
        proxy.lose_next_answer(asks_for_jobs)
    eventually(lambda: proxy.lost_answers == 1)
    job = becomes(world, job_id, Status.FAILED if fails else Status.COMPLETED, within=20)
    after = becomes(world, next_one, Status.COMPLETED)
    _, claimed, settled, *_ = changes_of(world, job_id)
    assert (claimed.became, settled.was, settled.tag) == ("running", "running", claimed.tag)
    assert job.retry_count == (3 if fails else 0)
    assert len(world.queue.attempts(job_id)) == (4 if fails else 0)
    assert (after.retry_count, after.interruptions) == (0, 0)
    assert not scene.events("job.lease_lost")
    client.close()
    expect_nothing_broken(world)


# D7


SWITCHES = ("nestloop", "hashjoin", "mergejoin", "indexscan", "bitmapscan", "seqscan")
"""Ways of the server that a planner may take or leave; what it takes flips with statistics."""


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_no_plan_that_the_server_may_choose_claims_more_than_the_limit(database_url: str) -> None:
    engine = open_engine(database_url)
    Queue(engine).register({"quick": JobTypeFacts(None)}, "planner")
    Queue(engine).enqueue([NewJob("quick", 1) for _ in range(400)])
    engine.dispose()
    for number in range(3):
        for off in itertools.combinations(SWITCHES, number):
            options = "%20".join(f"-cenable_{each}%3Doff" for each in off)
            engine = open_engine(database_url + ("&" if "?" in database_url else "?") + f"options={options}")
            queue, name = Queue(engine), "+".join(off)
            first = queue.claim(f"{name}:1", ("quick",), 3)
            done = [(each, Outcome(Kind.COMPLETED)) for each in first]
            cycle = queue.settle_and_claim(f"{name}:1", done, f"{name}:2", ("quick",), 3)
            assert [len(first), len(cycle.claimed), cycle.lost] == [3, 3, []], name
            engine.dispose()


# D9


def test_nothing_is_lost_or_counted_wrongly_when_everybody_locks_the_same_jobs_and_then_the_whole_table(tmp_path: Path) -> None:
    server = PrivatePostgres("deadlock_timeout = 10ms").start()
    engine = open_engine(server.url())
    upgrade(engine)
    witness.install(engine)
    queue = Queue(engine)
    queue.register(TYPES, "mix")

    def work(number: int) -> dict[str, int]:
        if number:
            return Actor(server.url(), tmp_path, number).run(5.0)
        passes(1.5)
        with psycopg.connect(server.url()) as connection:
            connection.execute("LOCK TABLE indexing_jobs IN ACCESS EXCLUSIVE MODE")
            passes(2.3)  # longer than others wait for a lock
        return {}

    try:
        refused = in_processes(engine, work, range(5))
        assert any("lock timeout" in reason for each in refused for reason in each), refused
        assert not any("deadlock" in reason for each in refused for reason in each), refused
        while queue.fold_counts():
            pass
        assert check(gather(engine, tmp_path, drained=False)) == []
        assert statuses(engine) == {status: n for status, n in counted(queue).items() if n}
    finally:
        engine.dispose()
        server.remove()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_outcomes_that_a_deadlock_undid_are_told_as_not_settled_and_settled_when_asked_again(database_url: str) -> None:
    """Nothing of ours locks jobs in another order than all; somebody else's program does."""
    engine = open_engine(database_url)
    queue = Queue(engine)
    queue.register({"quick": JobTypeFacts(None)}, "deadlock")
    queue.enqueue([NewJob("quick", 1) for _ in range(2)])
    claimed = queue.claim("t:1", ("quick",), 2)
    failed = [(each, Outcome(Kind.GAVE_UP, "no use")) for each in claimed]
    lock = "SELECT id FROM indexing_jobs WHERE id = %s FOR UPDATE"
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with ThreadPoolExecutor(1) as worker, psycopg.connect(database_url) as other, psycopg.connect(database_url) as owner:
        other.execute(lock, [claimed[1].id])
        owner.autocommit = True
        settling = worker.submit(queue.settle, "t:1", failed)
        eventually(lambda: (owner.execute(waits).fetchone() or [0])[0] == 1)
        other.execute(lock, [claimed[0].id])  # each waits for the other now; whoever has waited for a second is undone
        with pytest.raises(DatabaseUnavailable, match="deadlock"):
            settling.result(10)
        other.rollback()
    assert queue.settle("t:1", failed) == []
    assert statuses(engine) == {"failed": 2}
    assert [len(queue.attempts(each.id)) for each in claimed] == [1, 1]
    engine.dispose()


def statuses(engine: Engine) -> dict[str, int]:
    """How many jobs there are in each status, row by row."""
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(text("SELECT status, count(*) FROM indexing_jobs GROUP BY 1"))}


def counted(queue: Queue) -> dict[str, int]:
    """The same, as the counters have it."""
    counts = queue.counts()
    return {status: getattr(counts, status) for status in ("pending", "running", "completed", "failed", "cancelled")}


def test_leases_that_a_locked_table_let_lapse_are_fenced_and_all_claim_again_when_it_is_free(world: World) -> None:
    world.start()
    client = Client(world)
    held = [client.add(seconds=60.0, effects=0) for _ in range(2)]
    for job_id in held:
        becomes(world, job_id, Status.RUNNING)
    client.close()
    with psycopg.connect(world.database.own_url) as connection:
        connection.execute("LOCK TABLE indexing_jobs IN ACCESS EXCLUSIVE MODE")
        locked = time.time()
        passes(LOCK_TIMEOUT + 0.5)
        assert max(last_signs(world, held)) - locked < LOCK_TIMEOUT
    free = time.time()
    for job_id in held:
        world.queue.cancel(job_id)
    with Load(world, world.database.url):
        all_claim_again(world, free)
    expect_nothing_broken(world)


# D10


@pytest.mark.parametrize("world", [{"workers": 8}], indirect=True)
def test_workers_without_a_connection_wait_for_one_and_all_claim_as_soon_as_there_are_enough(world: World) -> None:
    """Superusers have three of nine connections, maintenance takes three; so three of eight workers get one."""
    as_app(world)
    scene = world.scenes[0]
    scene.settings["lock_timeout"] = 30.0  # so that workers pause as long as they ever do, and none is ended for it
    world.start()
    with Load(world, every=0.03, seconds=0.3, effects=0):
        all_claim_again(world, time.time(), within=30)  # eight new processes on however few cores
        quieten(scene)  # whoever has an outcome to settle asks more often
        restart_with(world, 9)
        scene.send(signal.SIGUSR2)
        scene.seen("database.unavailable")
        eventually(lambda: "connection" in scene.events("database.unavailable")[-1]["reason"])
        began = time.time()
        passes(2 * LONGEST_PAUSE)
        assert completed(world, began) > 5
        restart_with(world, 60)
        all_claim_again(world, time.time())
    expect_nothing_broken(world)
