"""What the network between a queue and its Postgres server may do: swallow, delay, tear, and lead to hosts that are not there."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import Status, open_engine, upgrade
from tests.chaos.checker import check
from tests.chaos.history import read_histories
from tests.chaos.world import World
from tests.postgres import PrivatePostgres
from tests.supervisor.scene import Scene, attempts
from tests.support import eventually, passes

from .load import (
    LOCK_TIMEOUT,
    Client,
    Load,
    all_claim_again,
    becomes,
    changes_of,
    expect_nothing_broken,
    last_signs,
    server_of,
    world_of,
)
from .watched import Watch


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world with one supervisor of two workers behind a proxy."""
    world = world_of(tmp_path)
    yield world
    world.close()


# N1


def test_a_black_hole_in_any_direction_ends_what_runs_in_time_and_is_forgotten_when_it_closes(world: World) -> None:
    world.start()
    proxy, client = server_of(world).proxy, Client(world)
    for directions in (["hold_requests"], ["hold_answers"], ["hold_requests", "hold_answers"]):
        in_transactions, waiting = client.add(effects=2000), client.add(seconds=60.0)
        for job_id in (in_transactions, waiting):
            becomes(world, job_id, Status.RUNNING)
        began = time.time()
        for direction in directions:
            setattr(proxy, direction, True)
        passes(LOCK_TIMEOUT + 0.5)
        assert max(last_signs(world, [in_transactions, waiting])) - began < LOCK_TIMEOUT
        proxy.heal()
        healed = time.time()
        for job_id in (in_transactions, waiting):
            world.queue.cancel(job_id)
        with Load(world, every=0.02):
            all_claim_again(world, healed)
    client.close()
    expect_nothing_broken(world)


def test_a_network_that_goes_black_inside_a_fenced_transaction_spends_no_retry(world: World) -> None:
    [scene] = world.scenes
    world.start()
    proxy, client = server_of(world).proxy, Client(world)
    job_id = client.add(effects=20_000)
    becomes(world, job_id, Status.RUNNING)
    signs = [job_id, "alive"]  # the second transaction's: its checkpoint, which it writes outside of any, is behind it then
    eventually(lambda: [[each.job, each.what] for each in read_histories(world.histories)].count(signs) >= 2)
    proxy.hold_requests = proxy.hold_answers = True
    overdue = scene.seen("worker.overdue", job_id=job_id)
    proxy.heal()
    eventually(lambda: attempts(scene, job_id))
    [(became, reason)] = attempts(scene, job_id)
    assert (overdue["cause"], became) == ("database", "interrupted")
    assert "no answer of the database" in reason
    job = world.queue.get(job_id)
    assert job is not None
    assert (job.retry_count, job.interruptions) == (0, 1)
    world.queue.cancel(job_id)
    client.close()
    expect_nothing_broken(world)


def test_workers_whose_connections_are_refused_ask_less_and_less_often_and_claim_again_in_time(world: World) -> None:
    [scene] = world.scenes
    scene.settings["lock_timeout"] = 30.0
    world.start()
    proxy = server_of(world).proxy
    proxy.refusing = True
    proxy.cut()
    refused = eventually(lambda: scene.events("database.unavailable"))
    passes(5.0)
    for process_id in {str(each["process_id"]) for each in refused}:
        asked = [each for each in scene.events("database.unavailable") if each["process_id"] == process_id]
        assert len(asked) <= 6, "at a constant pace there would be twenty"  # after at least 0, 0.25, 0.75, 1.75, 3.75, 5.75 s
    proxy.heal()
    healed = time.time()
    with Load(world, every=0.02):
        all_claim_again(world, healed)
    expect_nothing_broken(world)


# N2


def test_a_network_slower_than_usual_takes_no_job_from_a_worker_and_one_that_trickles_breaks_no_promise(world: World) -> None:
    world.start()
    proxy, client = server_of(world).proxy, Client(world)
    proxy.delay = 0.03  # a round trip takes 30 to 60 ms: to these leases what 300 to 600 ms are to those of 30 s
    slow = client.add(seconds=LOCK_TIMEOUT + 1.0)
    becomes(world, slow, Status.COMPLETED, within=20)
    proxy.delay = 0.0
    torn = client.add(seconds=2.5)
    becomes(world, torn, Status.RUNNING)
    for _ in range(4):
        passes(0.5)
        proxy.cut()
    becomes(world, torn, Status.COMPLETED)
    for job_id in (slow, torn):
        assert [each.became for each in changes_of(world, job_id)] == ["pending", "running", "completed"]
    with Load(world, every=0.02):
        proxy.delay, proxy.piece = 0.05, 1
        passes(LOCK_TIMEOUT)
        proxy.heal()
        all_claim_again(world, time.time())
    client.close()
    expect_nothing_broken(world)


def test_maintenance_behind_a_slow_network_is_not_taken_for_hanging_and_takes_back_what_the_dead_held(world: World) -> None:
    [scene] = world.scenes
    world.start()
    client, former = Client(world), scene.maintenance_pid
    server_of(world).proxy.delay = 0.1  # late by that much in each direction, or by half of it; the lease allows 0.15 s a step
    survivor, charged = client.add(seconds=2 * LOCK_TIMEOUT), client.add(seconds=2 * LOCK_TIMEOUT)
    for job_id in (survivor, charged):
        becomes(world, job_id, Status.RUNNING)
    victim = eventually(lambda: next((w["pid"] for w in scene.status["workers"] if w["job_id"] == charged), 0))
    passes(LOCK_TIMEOUT)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: [each.became for each in changes_of(world, charged)][2:3] == ["pending"], within=LOCK_TIMEOUT + 6)
    becomes(world, survivor, Status.COMPLETED, within=30)
    becomes(world, charged, Status.COMPLETED, within=30)
    assert [each.became for each in changes_of(world, survivor)] == ["pending", "running", "completed"]
    assert not scene.events("maintenance.lost")
    assert scene.maintenance_pid == former
    assert [each["pid"] for each in scene.events("worker.lost")] == [victim]
    server_of(world).proxy.heal()
    client.close()
    violations = check(world.evidence())
    assert not violations, violations


# N3


def test_hosts_that_are_silent_unknown_or_closed_are_passed_over_at_start_and_after_a_crash(tmp_path: Path) -> None:
    server, silent = PrivatePostgres().start(), socket.create_server(("127.0.0.1", 0))
    upgrade(open_engine(server.url()))
    dead = f"127.0.0.1:{silent.getsockname()[1]},nowhere.invalid:5432,127.0.0.1:1"
    watch = Watch(tmp_path, server.url())
    scene = watch.scene(workers=1, lock_timeout=12)
    scene.settings["database_url"] = server.url().replace("@", f"@{dead},")
    try:
        scene.start()
        watch.let_go()
        server.stop()
        server.start()
        back = time.monotonic()
        [job_id] = scene.enqueue("quick")
        scene.becomes(job_id, Status.COMPLETED, within=20)
        assert time.monotonic() - back < 10.0
        assert not scene.events("maintenance.lost")
        assert watch.violations() == []
    finally:
        watch.close()
        silent.close()
        server.remove()


def test_a_host_name_that_nobody_knows_is_said_at_start_with_the_exit_code_of_an_unreachable_database(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "postgresql://postgres:geheim@nowhere.invalid/db", workers=1)
    scene.launch()
    assert scene.exit_code() == 69
    said = scene.log.read_text()
    assert "nowhere.invalid" in said
    assert "geheim" not in said
    scene.close()
