"""No order of moves breaks the lease protocol, whichever one fault befalls it; without any one of its guards some order does."""

from __future__ import annotations

import pytest

from tests.permitted import needs

from .searches import ANY, GUARDS, missing_programs, search


@pytest.fixture(autouse=True)
def programs() -> None:
    """What searches must be installed."""
    for program in missing_programs():
        needs(program)


def test_no_order_of_moves_breaks_a_promise_whichever_one_fault_befalls_it() -> None:
    found = search([ANY], optimized=1)
    assert (found.broken, found.complete) == ("", True)
    assert found.states > 600_000


@pytest.mark.parametrize("guard", GUARDS)
def test_without_one_of_its_guards_the_promise_that_it_keeps_is_broken(guard: str) -> None:
    fault, promise = GUARDS[guard]
    found = search([fault], without=guard, only=promise, optimized=0)
    assert found.promise == promise, found.broken
