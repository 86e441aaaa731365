"""Whom the death of a worker is put down to, where more than one had a reason to end it."""

from __future__ import annotations

import pytest

from .fresh import in_a_fresh_process

CREW = """
from random import Random
from supervisor.crew import Crew
from supervisor.limits import Limits
from supervisor.restarts import RestartPolicy
from workers import Activity, Board, Phase
from workers.slot import Cancel

LIMITS = Limits(lock_timeout=60.0, heartbeat_interval=6.0, poll_interval=1.0, ready_timeout=60.0)
board = Board(1)
crew = Crew(nursery, board, ("host-1",), lambda place, incarnation: time.sleep(60) or 0, -1, 1, Random(1))
now = boot_time()
crew.fill_empty_slots(now)
[(place, worker)] = crew.living

def works_on_a_job(job_id=7, lease=2, deadline=0.0):
    place.slot.act(Activity(worker.incarnation, worker.child.pid, Phase.RUNNING, now, job_id, lease, deadline, 1))

def is_to_be_cancelled():
    place.slot.ask_to_cancel(Cancel(7, 2, now))
    crew.stop_the_overdue(LIMITS, now, now)

def is_ended_by_maintenance():
    place.slot.note_lapsed(worker.incarnation)
    is_killed()

def is_killed():
    worker.child.send_group(signal.SIGKILL)
    select.select([worker.child.pidfd], [], [], 5)
    [(_, burial)] = crew.bury_the_dead(LIMITS, boot_time(), RestartPolicy())
    print(json.dumps([burial.death.kind, burial.death.job_id, burial.death.reason]))
"""

FOUND = {
    "nothing else": ("works_on_a_job()", ["interrupted", 7, "its lease could not be renewed for 54 s"]),
    "a request to leave": (
        "works_on_a_job(); crew.ask_to_leave(place, now + 60)",
        ["interrupted", 7, "its lease could not be renewed for 54 s"],
    ),
    "a timeout": (
        "works_on_a_job(deadline=now); crew.stop_the_overdue(LIMITS, now, now)", ["timed_out", 7, "ran past its timeout"]
    ),
    "a cancel": ("works_on_a_job(); is_to_be_cancelled()", ["cancelled", 7, "cancelled while it ran"]),
    "a cancel of its former job": (
        "works_on_a_job(); is_to_be_cancelled(); works_on_a_job(8)",
        ["interrupted", 8, "its lease could not be renewed for 54 s"],
    ),
}
"""What the supervisor had found a worker overdue for before maintenance ended it, and what becomes of its job."""


@pytest.mark.parametrize("former", FOUND)
def test_a_worker_that_maintenance_ended_dies_of_its_lease_unless_its_job_was_being_stopped_already(former: str) -> None:
    before, buried = FOUND[former]
    assert in_a_fresh_process(f"{CREW}\n{before}\nis_ended_by_maintenance()") == buried


def test_a_worker_that_dies_of_its_next_job_is_not_excused_by_a_cancel_of_the_one_before() -> None:
    buried = in_a_fresh_process(f"{CREW}\nworks_on_a_job(); is_to_be_cancelled(); works_on_a_job(8)\nis_killed()")
    assert buried == ["crashed", 8, "the worker was killed by signal 9 (SIGKILL)"]
