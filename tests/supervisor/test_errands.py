"""One-shot children: how long they may take."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
from collections.abc import Callable
from unittest import mock

import pytest

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


def _is_refused() -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    before = os.listdir("/proc/self/fd")
    with mock.patch("os.fork", refuse), pytest.raises(BlockingIOError):
        Errand(Nursery(), _never_ends, title="jobqueue: test", now=0.0, within=10.0)
    assert os.listdir("/proc/self/fd") == before


def test_an_errand_that_the_system_refuses_leaves_no_descriptor_open() -> None:
    assert _exit_code_of(_is_refused) == 0


def test_an_errand_is_killed_at_its_deadline_or_at_the_later_one_it_is_allowed() -> None:
    assert _exit_code_of(_allow_more_time) == 0


def _exit_code_of(scene: Callable[[], None]) -> int | None:
    """Play it in a process of its own, since it forks, which threads would forbid."""
    alone = multiprocessing.get_context("fork").Process(target=scene)
    alone.start()
    alone.join(30)
    return alone.exitcode
