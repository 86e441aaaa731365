"""What is written about a dead worker."""

from __future__ import annotations

import json

import pytest

from backends import Kind
from supervisor.burials import Burial, as_message, bury, from_message
from supervisor.children import Ending
from supervisor.limits import Ground, Verdict
from workers import Activity, Claim, ClaimState, Phase

CLAIMS = [Claim(b"0123456789abcdef", ClaimState.HELD, 1.0), Claim(b"fedcba9876543210", ClaimState.DROPPED, 2.0)]
RUNNING = Activity(3, 4711, Phase.RUNNING, 10.0, 7, 2, 0.0, 5)
IDLE = Activity(3, 4711, Phase.IDLE, 10.0, 0, 0, 0.0, 5)
SETTLING = Activity(3, 4711, Phase.SETTLING, 10.0, 0, 0, 0.0, 5)
KILLED, LEFT = Ending(9, 0), Ending(0, 0)


def buried(activity: Activity, ending: Ending, verdict: Verdict | None = None, out_of_memory: bool = False) -> Burial:
    return bury("host-1", 4711, activity, CLAIMS, ending, verdict, out_of_memory)


def test_a_killed_worker_is_a_crash_of_the_job_it_ran_and_names_all_its_claims() -> None:
    burial = buried(RUNNING, KILLED)
    assert burial.death.tags == ("host-1:0123456789abcdef", "host-1:fedcba9876543210")
    assert (burial.death.job_id, burial.death.lease, burial.death.kind) == (7, 2, Kind.CRASHED)
    assert burial.death.reason == "the worker was killed by signal 9 (SIGKILL)"
    assert burial.had_a_job


def test_leaving_with_exit_code_0_and_a_job_in_hand_is_a_crash() -> None:
    burial = buried(RUNNING, LEFT)
    assert burial.death.kind is Kind.CRASHED
    assert burial.death.reason == "the worker left with exit code 0"


def test_a_worker_without_a_job_charges_nobody() -> None:
    burial = buried(IDLE, KILLED)
    assert (burial.death.job_id, burial.had_a_job) == (0, False)


def test_want_of_memory_is_named() -> None:
    assert "out of memory" in buried(RUNNING, KILLED, out_of_memory=True).death.reason


@pytest.mark.parametrize(
    ("ground", "kind"),
    [
        (Ground.DEADLINE, Kind.TIMED_OUT),
        (Ground.FENCED, Kind.TIMED_OUT),
        (Ground.CANCEL, Kind.CANCELLED),
        (Ground.LEASE, Kind.INTERRUPTED),
        (Ground.LEASE_LOST, Kind.INTERRUPTED),
        (Ground.DATABASE, Kind.INTERRUPTED),
        (Ground.DRAIN, Kind.RELEASED),
        (Ground.STOPPED, Kind.CRASHED),
    ],
)
def test_the_ground_of_a_kill_decides_whose_fault_it_was(ground: Ground, kind: Kind) -> None:
    death = buried(RUNNING, KILLED, Verdict(ground, "because", 7, 2)).death
    assert (death.kind, death.reason) == (kind, "because")


def test_a_job_that_was_started_after_the_one_that_had_to_stop_goes_unspent() -> None:
    death = buried(RUNNING, KILLED, Verdict(Ground.CANCEL, "cancelled while it ran", 6, 1)).death
    assert death.kind is Kind.RELEASED
    assert death.job_id == 7


@pytest.mark.parametrize(
    ("verdict", "neighbours"),
    [
        (None, Kind.INTERRUPTED),
        (Verdict(Ground.DATABASE, "hung"), Kind.INTERRUPTED),
        (Verdict(Ground.DEADLINE, "ran past its timeout", 7, 2), Kind.INTERRUPTED),
        (Verdict(Ground.DRAIN, "handed back"), Kind.RELEASED),
    ],
)
def test_who_dies_while_it_settles_interrupts_all_it_held_unless_it_was_told_to_leave(
    verdict: Verdict | None, neighbours: Kind
) -> None:
    burial = buried(SETTLING, KILLED, verdict)
    assert (burial.death.job_id, burial.death.neighbours, burial.had_a_job) == (0, neighbours, True)


def test_neighbours_of_a_job_that_was_running_go_unspent() -> None:
    assert buried(RUNNING, KILLED).death.neighbours is Kind.RELEASED


def test_a_death_survives_its_way_to_maintenance() -> None:
    for death in (buried(RUNNING, Ending(11, 0)).death, buried(SETTLING, KILLED).death):
        assert from_message(json.loads(json.dumps(as_message(death)))) == death
