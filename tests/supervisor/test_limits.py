"""What a worker is overdue for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from supervisor.limits import NEVER, Ground, Limits, Sight, judge
from workers import Activity, CancelRequest, Phase

LIMITS = Limits(lock_timeout=30.0, heartbeat_interval=5.0, poll_interval=1.0, ready_timeout=20.0)


def seen(phase: Phase, since: float = 100.0, job_id: int = 0, lease: int = 0, deadline: float = 0.0) -> Sight:
    return Sight(Activity(1, 4711, phase, since, job_id, lease, deadline, 1), tick_at=since)


def grounds(sight: Sight, now: float) -> Ground | None:
    verdict = judge(sight, LIMITS, now)
    return verdict and verdict.ground


@pytest.mark.parametrize(
    ("phase", "limit", "ground"),
    [
        (Phase.STARTING, 20.0, Ground.NOT_READY),
        (Phase.IDLE, 11.0, Ground.SILENT),
        (Phase.DATABASE, 30.0, Ground.DATABASE),
        (Phase.SETTLING, 30.0, Ground.DATABASE),
        (Phase.FENCED, 10.0, Ground.FENCED),
    ],
)
def test_each_phase_has_its_own_limit(phase: Phase, limit: float, ground: Ground) -> None:
    assert grounds(seen(phase), 100.0 + limit - 0.01) is None
    assert grounds(seen(phase), 100.0 + limit) is ground


def test_a_handler_without_a_deadline_may_run_for_ever() -> None:
    assert grounds(seen(Phase.RUNNING, job_id=7, lease=1), 1_000_000.0) is None


def test_a_handler_past_its_deadline_is_overdue_also_inside_a_fenced_transaction() -> None:
    for phase in (Phase.RUNNING, Phase.FENCED):
        assert grounds(seen(phase, job_id=7, lease=1, deadline=105.0), 104.99) is None
        assert grounds(seen(phase, job_id=7, lease=1, deadline=105.0), 105.0) is Ground.DEADLINE


def test_an_idle_worker_that_ticks_is_never_overdue() -> None:
    assert grounds(replace(seen(Phase.IDLE), tick_at=995.0), 1000.0) is None


def test_a_lease_that_runs_out_comes_before_everything_else() -> None:
    sight = replace(seen(Phase.RUNNING, job_id=7, lease=1, deadline=101.0), fenced_at=120.0)
    assert grounds(sight, 119.0) is Ground.DEADLINE
    assert grounds(sight, 120.0) is Ground.LEASE, "a worker whose lease ran out is left to run"


def test_a_lease_taken_over_counts_only_in_a_handler_and_only_when_it_stays_so() -> None:
    running = replace(seen(Phase.RUNNING, job_id=7, lease=1), gone_since=200.0)
    assert grounds(running, 202.4) is None
    assert grounds(running, 202.5) is Ground.LEASE_LOST
    assert grounds(replace(seen(Phase.SETTLING, since=195.0), gone_since=200.0), 202.5) is None


def test_a_cancel_is_for_one_lease_of_one_job() -> None:
    running = seen(Phase.RUNNING, job_id=7, lease=2)
    assert grounds(replace(running, cancel=CancelRequest(7, 1, 1.0)), 101.0) is None
    assert grounds(replace(running, cancel=CancelRequest(7, 2, 1.0)), 101.0) is Ground.CANCEL


def test_a_stopped_process_is_overdue_after_a_third_of_the_lock_timeout() -> None:
    stopped = replace(seen(Phase.RUNNING, job_id=7, lease=1), stopped_since=200.0)
    assert grounds(stopped, 209.9) is None
    assert grounds(stopped, 210.0) is Ground.STOPPED


def fenced_and_asking(asked_at: float) -> Sight:
    sight = seen(Phase.FENCED, job_id=7, lease=1)
    return replace(sight, activity=sight.activity._replace(asked_at=asked_at))


def test_a_server_that_does_not_answer_in_a_fenced_transaction_is_not_the_handlers_fault() -> None:
    assert grounds(fenced_and_asking(108.0), 117.9) is None, "the server was not given its time"
    assert grounds(fenced_and_asking(108.0), 118.0) is Ground.DATABASE
    assert grounds(replace(fenced_and_asking(108.0), fenced_at=115.0), 115.0) is Ground.LEASE


def test_a_handler_that_has_had_its_time_in_a_fenced_transaction_is_not_excused_by_asking_something_more() -> None:
    assert grounds(fenced_and_asking(110.0), 110.1) is Ground.FENCED


def test_a_worker_that_was_stopped_while_it_waited_for_an_answer_is_charged_for_having_been_stopped() -> None:
    stopped = replace(fenced_and_asking(101.0), stopped_since=105.0)
    assert grounds(stopped, 114.9) is None
    assert grounds(stopped, 115.0) is Ground.STOPPED


def test_what_happened_while_the_supervisor_itself_did_not_run_is_held_against_nobody() -> None:
    for phase in (Phase.STARTING, Phase.IDLE, Phase.DATABASE, Phase.FENCED):
        assert grounds(replace(seen(phase), awake_since=1000.0), 1001.0) is None
    assert grounds(replace(seen(Phase.IDLE), stopped_since=500.0, awake_since=1000.0), 1001.0) is None
    assert grounds(replace(seen(Phase.IDLE), awake_since=1000.0), 1011.0) is Ground.SILENT


def test_a_lease_that_ran_out_while_the_supervisor_did_not_run_still_ends_the_worker() -> None:
    sight = replace(seen(Phase.RUNNING, job_id=7, lease=1), fenced_at=500.0, awake_since=1000.0)
    assert grounds(sight, 1000.0) is Ground.LEASE


def test_nothing_is_due_of_an_empty_slot() -> None:
    assert judge(Sight(Activity(0, 0, Phase.EMPTY, 0.0, 0, 0, 0.0, 0)), LIMITS, 1e9) is None


def test_the_time_left_after_fencing_is_one_heartbeat() -> None:
    assert LIMITS.lock_timeout - LIMITS.lease == LIMITS.heartbeat_interval
    assert LIMITS.grace == 5.0
    assert NEVER > 1e12
