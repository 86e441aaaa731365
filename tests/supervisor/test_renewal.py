"""Renewal: which claims of a living worker are kept alive."""

from __future__ import annotations

import os
from random import Random

from sqlalchemy import Engine

from backends import JobTypeFacts, NewJob, Queue, Sums, open_engine
from supervisor.limits import Limits
from supervisor.renewal import RenewalThread
from tests.support import eventually
from workers import Activity, Board, Claim, ClaimState, Phase, boot_time

HELD, DROPPED = b"a" * 16, b"b" * 16


def test_what_a_worker_holds_is_renewed_and_what_it_dropped_is_not(engine: Engine) -> None:
    queue, board = Queue(engine), Board(1)
    queue.register({"quick": JobTypeFacts(None)}, "test")
    queue.enqueue([NewJob("quick", 1), NewJob("quick", 1)])
    held, dropped = (queue.claim(f"worker-1:{nonce.decode()}", ("quick",), 1)[0].id for nonce in (HELD, DROPPED))
    before = {each: _locked_at(queue, each) for each in (held, dropped)}
    board.slots[0].act(Activity(1, os.getpid(), Phase.RUNNING, boot_time(), held, 1, 0.0, 1))
    states = (Claim(HELD, ClaimState.HELD, boot_time()), Claim(DROPPED, ClaimState.DROPPED, boot_time()))
    board.slots[0].book(list(states))
    thread = RenewalThread(queue, board, ["worker-1"], os.getppid(), Limits(30.0, 5.0, 1.0, 20.0), Random(1), Sums())
    thread.start()
    eventually(lambda: _locked_at(queue, held) != before[held])
    thread.stop()
    thread.join()
    assert _locked_at(queue, dropped) == before[dropped], "a claim was kept alive that its worker gave up"


def test_an_outage_that_outlasts_the_last_lease_makes_nobody_spin() -> None:
    board = Board(1)
    board.slots[0].act(Activity(1, os.getpid(), Phase.RUNNING, boot_time(), 1, 1, 0.0, 1))
    board.slots[0].book([Claim(HELD, ClaimState.HELD, boot_time())])
    away = Queue(open_engine("postgresql://nobody@127.0.0.1:1/none", connect_timeout=2))
    sums = Sums()
    thread = RenewalThread(away, board, ["worker-1"], os.getppid(), Limits(30.0, 5.0, 1.0, 20.0), Random(1), sums)
    thread.start()
    eventually(lambda: sums)
    board.slots[0].book([])
    failed = eventually(lambda: board.pulse("renewal"))
    looks = eventually(lambda: (pulse := board.pulse("renewal")).at > failed.at + 2.0 and pulse.tick - failed.tick)
    thread.stop()
    thread.join()
    assert looks < 30, "who had nothing to renew asked again and again whether it was time to"


def _locked_at(queue: Queue, job_id: int) -> object:
    job = queue.get(job_id)
    assert job is not None
    return job.locked_at
