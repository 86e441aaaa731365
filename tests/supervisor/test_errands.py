"""One-shot children: how long they may take."""

from __future__ import annotations

import multiprocessing
import signal

from supervisor.children import Nursery
from supervisor.errands import Errand, Tell
from tests.support import eventually


def _never_ends(tell: Tell) -> int:
    signal.pause()
    return 0


def _allow_more_time() -> None:
    errand = Errand(Nursery(), _never_ends, title="jobqueue: test", now=0.0, within=10.0)
    errand.allow(100.0)
    errand.look(99.0)
    assert not errand.out_of_time
    errand.look(101.0)
    assert errand.out_of_time

    def ended() -> bool:
        errand.look(101.0)
        return errand.ended is not None

    assert eventually(ended)


def test_an_errand_is_killed_at_its_deadline_or_at_the_later_one_it_is_allowed() -> None:
    alone = multiprocessing.get_context("fork").Process(target=_allow_more_time)  # it forks, which threads would forbid
    alone.start()
    alone.join(30)
    assert alone.exitcode == 0
