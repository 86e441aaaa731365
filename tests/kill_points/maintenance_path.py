"""The path of maintenance: renews, hears of a death, takes back, releases, admits, prunes, sweeps, walks, folds and reports."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from random import Random
from typing import Any

from sqlalchemy import Engine, text

from backends import Death, Job, Kind, NewJob, Outcome, Owner, Queue, add_key, open_engine, recount, store_secret, upgrade
from backends.migrate import upgrade_within
from config import load
from supervisor import plan
from supervisor.burials import as_message
from supervisor.channel import Channel
from supervisor.maintenance import Maintenance
from supervisor.renewal import RenewalThread
from tests.chaos.history import Recorder
from workers import Activity, Board, Claim, ClaimState, Phase, boot_time

from .databases import Place, victims_url
from .enqueue_path import Caller
from .handlers import TOKEN
from .scenery import prepare, write_config

LONG_AGO = {False: "clock_timestamp() - interval '1 year'", True: "'2020-01-01 00:00:00.000000+00:00'"}
"""By whether it is SQLite: a moment in its SQL."""

SECRET = f'{{"access_token": "{TOKEN}"}}'
PASSES = 2


def tag(name: str) -> str:
    """A claim tag of the first worker."""
    return f"one-1:{name:_<16}"


def prepare_for_maintenance(place: Place) -> None:
    """A database with something to do for each chore."""
    add_key(place.keys)
    engine = open_engine(place.url, key_file=place.keys)
    caller = Caller(Queue(engine), Recorder(place.histories, "seed"))
    with engine.begin() as connection:
        upgrade_within(connection, to="0001")
    old = [caller.by_hand(f"old {number}", 1, SECRET) for number in range(3)]
    _change(engine, "status = 'completed', completed_at = created_at", old[0])
    upgrade(engine)
    engine.dispose()
    engine = prepare(place)
    queue = Queue(engine)
    _finish_long_ago(engine, queue, Recorder(place.histories, "past"))
    _hold(engine, queue, Caller(queue, Recorder(place.histories, "holder")))
    caller.by_hand("admitted", 2)
    caller.by_hand("laned", 2, job_type="laned")
    caller.by_hand("admitted with key", 1, SECRET)
    with engine.begin() as connection:
        store_secret(connection, Owner.JOB, 999_999, "access_token", TOKEN)
        long_ago = LONG_AGO[engine.dialect.name == "sqlite"]
        connection.exec_driver_sql(f"UPDATE jobqueue_secrets SET created_at = {long_ago} WHERE owner_id = 999999")
    recount(engine)  # some of this was done behind the queue's back
    engine.dispose()


def _finish_long_ago(engine: Engine, queue: Queue, past: Recorder) -> None:
    """Two jobs that are old enough to be pruned; nobody promises to keep them."""
    for number, kind in enumerate((Kind.COMPLETED, Kind.GAVE_UP)):
        past.note("enqueue", "invoke", key=f"pruned {number}")
        [job_id] = queue.enqueue([NewJob("plain", 9, unique_key=f"pruned {number}")])
        [job] = queue.claim(tag("past"), ["plain"], 1)
        past.note("run", "returned", job_id, job.lease)
        queue.settle(tag("past"), [(job, Outcome(kind, "long ago"))])
        long_ago = LONG_AGO[engine.dialect.name == "sqlite"]
        _change(engine, f"created_at = {long_ago}, completed_at = {long_ago}", [job_id])


def _hold(engine: Engine, queue: Queue, caller: Caller) -> None:
    """Jobs in the hands of workers: one that lives, one whose claim it dropped, one that died, one that nobody renews."""
    for name in ("held", "dropped", "expired"):
        _claim(queue, caller, name, 1)
    _claim(queue, caller, "dead", 3)
    expired = {False: "", True: ", locked_boot = NULL"}[engine.dialect.name == "sqlite"]
    with engine.begin() as connection:
        long_ago = LONG_AGO[engine.dialect.name == "sqlite"]
        connection.execute(
            text(f"UPDATE indexing_jobs SET locked_at = {long_ago}{expired} WHERE locked_by = :tag"), {"tag": tag("expired")}
        )


def _claim(queue: Queue, caller: Caller, name: str, number: int) -> list[Job]:
    caller.enqueue(name, [caller.keyed(f"{name} {each}", job_type="plain") for each in range(number)])
    jobs = queue.claim(tag(name), ["plain"], number)
    assert len(jobs) == number
    return jobs


def _change(engine: Engine, values: str, ids: list[int]) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE indexing_jobs SET {values} WHERE id IN ({', '.join(map(str, ids))})")


class _AtOnce(Random):
    """No chore waits for a moment that chance picks."""

    def random(self) -> float:
        return 0.0


class _OneRenewal(RenewalThread):
    """Renews once."""

    def _renew(self, held: Any) -> None:
        super()._renew(held)
        self.stop()


class _SomePasses(Maintenance):
    """Has all chores due again instead of waiting for them, and leaves after some passes."""

    _passes = 0

    def _wait(self) -> None:
        self._passes += 1
        for chore in self._chores[1:]:
            chore.due_at = 0.0
        self._order = "leave" if self._passes == PASSES else ""


def maintain(place: Place) -> None:
    """Be maintenance, in the place of its supervisor, for some passes."""
    never = {"heartbeat_interval": 200.0, "lock_timeout": 600.0, "poll_interval": 200.0}
    settings = load(write_config(place, victims_url(place), **never)).settings
    identity = plan.Identity("killed", socket.gethostname(), os.getpid(), datetime.now(UTC))
    ids, board, (ours, theirs), (_, wake) = ("one-1", "one-2", "one-3"), Board(3), Channel.pair(), os.pipe()
    options = plan.maintenance_engine_options(settings)
    queues = [Queue(open_engine(settings.database_url, **options), plan.policies_of(settings)) for _ in range(2)]
    _take_places(board, _bystander(), queues[0])
    maintenance = _SomePasses(settings, identity, board, ids, [wake] * 3, theirs, queues[0], _AtOnce())
    limits, sums = plan.limits_of(settings), maintenance.tallies.sums
    _OneRenewal(queues[1], board, ids, identity.pid, limits, Random(), sums).run()
    ours.send({"status": {"workers": []}})
    ours.send({"death": 1, **as_message(Death((tag("dead"),), _one_of(queues[0], "dead"), 1, Kind.CRASHED, "was killed"))})
    maintenance.run()
    for queue in queues:
        queue.engine.dispose()


def _one_of(queue: Queue, name: str) -> int:
    find = text("SELECT min(id) FROM indexing_jobs WHERE unique_key = :key")
    return int(queue.read(lambda connection: connection.execute(find, {"key": f"{name} 0"}).scalar_one()))


def _take_places(board: Board, pid: int, queue: Queue) -> None:
    """One worker runs a job, one believes that it does, one rests."""
    now, job_id = boot_time(), _one_of(queue, "held")
    board.slots[0].act(Activity(1, pid, Phase.RUNNING, now, job_id, 1, 0.0, 1))
    board.slots[0].book([Claim(tag(name)[6:].encode(), state, now) for name, state in
                         (("held", ClaimState.HELD), ("dropped", ClaimState.DROPPED))])
    board.slots[1].act(Activity(1, pid, Phase.RUNNING, now, 999_999, 1, 0.0, 1))
    board.slots[1].book([Claim(tag("gone")[6:].encode(), ClaimState.HELD, now)])
    board.slots[2].act(Activity(1, pid, Phase.IDLE, now, 0, 0, 0.0, 1))


def _bystander() -> int:
    """A process that lives as long as this one, in a group of its own, in the place of workers; returns its pid."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    return pid
