"""One trial: a process walks a path on a database of its own and is killed; a fresh supervisor drains; everything is checked."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from sqlalchemy import Engine, text

from backends import DatabaseUnavailable, open_engine
from backends.counters import append_differences
from config import load
from supervisor import run
from tests.audit import forbid_opening_databases
from tests.chaos.checker import check, gather
from tests.support import die_with_parent, eventually

from .databases import Databases, Place
from .enqueue_path import enqueue, prepare_for_enqueue
from .handlers import HISTORIES, TOKEN
from .maintenance_path import maintain, prepare_for_maintenance
from .repeats import runs_too_many
from .scenery import write_config
from .spying import Point, Spy, spy_on_postgres, spy_on_sqlite
from .worker_path import prepare_for_worker, work

LONGEST_WALK, LONGEST_DRAIN = 60.0, 60.0
"""Seconds."""

LONG_AGO = "'2020-01-01 00:00:00.000000+00:00'"

Killer = Callable[[int], None]
"""Called with the pid of the process on the path, before it begins."""


@dataclass(frozen=True, slots=True)
class KillPath:
    """What a process does to a database: how that is prepared, and the walk itself."""

    prepare: Callable[[Place], None]
    walk: Callable[[Place], None]


PATHS = {
    "enqueue": KillPath(prepare_for_enqueue, enqueue),
    "worker": KillPath(prepare_for_worker, work),
    "maintenance": KillPath(prepare_for_maintenance, maintain),
}


@dataclass(slots=True)
class Verdict:
    """What became of a trial: whether the process was killed, and all that was wrong afterwards."""

    killed: bool
    violations: list[str] = field(default_factory=list)


def attempt(databases: Databases, place: Place, path: str, point: Point | None, killer: Killer | None = None) -> Verdict:
    """Walk the path, killed at `point` or by what `killer` starts; then drain and judge. Call it in a process of its own."""
    status = _walk(databases, place, path, point, killer)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    verdict = Verdict(killed)
    if not killed and status:
        verdict.violations.append(f"the path ended with {status}: {(place.folder / 'walk.log').read_text()[-3000:]}")
    _let_time_pass(place)
    left = _drain(place)
    verdict.violations += left + _judge(place, killed)
    return verdict


def _walk(databases: Databases, place: Place, path: str, point: Point | None, killer: Killer | None) -> int:
    """The wait status of the process."""
    reader, writer = os.pipe()
    pid = _fork(place.folder / "walk.log", lambda: _go(databases, place, path, point, reader, writer))
    os.close(reader)
    if killer is not None:
        killer(pid)
    os.close(writer)
    return _await(pid)


def _go(databases: Databases, place: Place, path: str, point: Point | None, reader: int, writer: int) -> int:
    os.close(writer)
    os.read(reader, 1)  # until whoever kills is ready
    spy = Spy(place.seen, point)
    if databases.on_postgres:
        spy_on_postgres(spy)
    else:
        spy_on_sqlite(spy, place.trace if point is None else None)
    PATHS[path].walk(place)
    return 0


def _fork(log: Path, main: Callable[[], int]) -> int:
    """Run `main` in a child that writes to `log` and does not outlive this process; returns its pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        die_with_parent(signal.SIGKILL)
        os.setsid()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for standard in (1, 2):
            os.dup2(descriptor, standard)
        code = main()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _await(pid: int) -> int:
    """Its wait status; one that takes too long is ended, and told apart by that."""
    watch = os.pidfd_open(pid)
    ready, _, _ = select.select([watch], [], [], LONGEST_WALK)
    os.close(watch)
    if not ready:
        os.kill(pid, signal.SIGABRT)
    return os.waitpid(pid, 0)[1]


def _let_time_pass(place: Place) -> None:
    """Let the lock timeout of what the dead one held be over, and the pause of what it put off, instead of waiting for that."""
    engine = open_engine(place.url)
    boot = ", locked_boot = NULL" if engine.dialect.name == "sqlite" else ""
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE indexing_jobs SET locked_at = {LONG_AGO}{boot} WHERE status = 'running'"))
        connection.execute(text(f"UPDATE indexing_jobs SET scheduled_at = {LONG_AGO} WHERE waits_for = 'time'"))
    engine.dispose()


def _drain(place: Place) -> list[str]:
    """Have a fresh supervisor work until nothing is left; says so when it does not get there."""
    os.environ[HISTORIES] = str(place.histories)
    config = write_config(place, place.url)
    pid = _fork(place.folder / "supervisor.log", lambda: _supervise(config))
    engine = open_engine(place.url)
    try:
        eventually(lambda: _is_over(engine), LONGEST_DRAIN, every=0.05)
        return []
    except AssertionError:
        return [f"not drained within {LONGEST_DRAIN} s: {(place.folder / 'supervisor.log').read_text()[-3000:]}"]
    finally:
        engine.dispose()
        _end(pid)


def _supervise(config: Path) -> int:
    forbid_opening_databases()
    return run(load(config))


def _is_over(engine: Engine) -> bool:
    statement = (
        "SELECT (SELECT count(*) FROM indexing_jobs WHERE status IN ('pending', 'running'))"
        " + (SELECT count(*) FROM jobqueue_unfinished)"
    )
    with contextlib.suppress(DatabaseUnavailable), engine.connect().execution_options(jobqueue_read=True) as connection:
        return connection.execute(text(statement)).scalar_one() == 0
    return False


def _end(supervisor: int) -> None:
    """Kill a supervisor of ours with all that it started; it is stopped first, so that it starts nobody meanwhile."""
    os.kill(supervisor, signal.SIGSTOP)
    started = psutil.Process(supervisor).children(recursive=True)
    for process in started:
        with contextlib.suppress(psutil.Error):
            process.kill()
    os.kill(supervisor, signal.SIGKILL)
    os.waitpid(supervisor, 0)
    psutil.wait_procs(started, 5)


def _judge(place: Place, killed: bool) -> list[str]:
    engine = open_engine(place.url)
    evidence = gather(engine, place.histories)
    found = [str(violation) for violation in check(evidence)]
    found += runs_too_many(evidence.history, evidence.attempts, evidence.changes, killed)
    with engine.connect().execution_options(jobqueue_read=True) as connection:
        if wrong := connection.execute(append_differences().select).all():
            found.append(f"counters do not say what the rows say, but for {wrong}")
        leaked = connection.execute(
            text("SELECT count(*) FROM indexing_jobs WHERE job_parameters LIKE :token"), {"token": f"%{TOKEN}%"}
        ).scalar_one()
        kept = connection.execute(text(
            "SELECT count(*) FROM jobqueue_secrets s JOIN indexing_jobs j ON j.id = s.owner_id WHERE s.owner = 'job'"
        )).scalar_one()
        if leaked or kept:
            found.append(f"G15 broken: {leaked} tokens in clear, {kept} of jobs that are over")
    engine.dispose()
    return found
