"""When a supervisor counts as healthy: a function of what was seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backends import SupervisorView
from supervisor.commands.sight import Sight

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def local(**changes: Any) -> dict[str, Any]:
    workers = [{"phase": "idle"}, {"phase": "starting"}]
    said = {"id": "a", "host": "h", "pid": 7, "state": "running", "written_at": NOON.isoformat(), "workers": workers}
    return said | changes


def remote(**status: Any) -> SupervisorView:
    return SupervisorView("b", "far", 9, NOON, NOON, 1.0, {"count": None}, status)


def test_one_ready_worker_is_enough() -> None:
    assert Sight(local(), (), None, NOON).reasons == []


def test_nobody_running_is_a_reason() -> None:
    assert Sight(None, (), None, NOON).reasons == ["no supervisor is running"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"state": "crash loop", "last_death": "signal 11"}, "h pid 7: crash loop, last: signal 11"),
        ({"workers": [{"phase": "starting"}, {"phase": "backing off"}]}, "h pid 7: no worker is ready"),
        ({"state": "starting"}, "h pid 7: is starting"),
        ({"written_at": (NOON - timedelta(minutes=1)).isoformat()}, "supervisor pid 7 has written no status for 1m"),
    ],
)
def test_what_ails_the_local_one_is_said(said: dict[str, Any], reason: str) -> None:
    assert Sight(local(**said), (), None, NOON).reasons == [reason]


def test_a_remote_one_is_judged_by_what_it_told_the_database() -> None:
    assert Sight(None, [remote()], None, NOON).reasons == []
    assert Sight(None, [remote(state="crash loop", last_death="signal 9")], None, NOON).reasons == [
        "far pid 9: crash loop, last: signal 9"
    ]


def test_the_local_one_is_not_shown_twice() -> None:
    own = SupervisorView("a", "h", 7, NOON, NOON, 1.0, {}, {})
    assert [each["id"] for each in Sight(local(), [own, remote()], None, NOON).supervisors] == ["a", "b"]
