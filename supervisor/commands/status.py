"""`status`: who runs, how they are, and how much there is to do."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from . import output
from .opening import load, open_database
from .options import AsJson, ConfigFile
from .problems import Exit, Problem
from .sight import Sight
from .wording import span

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from backends import Counts
    from config import Settings

WORKER = ("process_id", "pid", "phase", "job_id", "since", "restarts", "last_reason")


def add_to(app: typer.Typer) -> None:
    """Hang `status` into the tree of commands."""
    app.command()(status)


def status(as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Say who runs, on this host and on others, how they are, and how much there is to do.

    Exit codes: 0 healthy, 1 unhealthy, 3 not running anywhere, 69 database unreachable.
    """
    sight, problem = look(load(config).settings)
    if as_json:
        output.document(sight.as_dict())
    elif output.for_people():
        _for_people(sight)
    else:
        _in_lines(sight)
    if problem:
        raise problem
    if not sight.running:
        output.say("No supervisor is running. supervisor start")
        return Exit.NOT_RUNNING
    return Exit.FAILED if sight.reasons else Exit.OK


def look(settings: Settings) -> tuple[Sight, Problem | None]:
    """What can be seen, and what kept us from seeing the database's side of it."""
    from backends import Queue, check

    now = datetime.now(UTC)
    local = here(settings.run_dir, now)
    try:
        with open_database(settings) as engine:
            check(engine)
            queue = Queue(engine)
            return Sight(local, queue.supervisors(settings.lock_timeout), queue.counts(), now), None
    except Problem as problem:
        return Sight(local, (), None, now, problem.what), problem


def here(run_dir: Path, now: datetime) -> Mapping[str, Any] | None:
    """What the supervisor of this run directory says of itself; None when none runs.

    One that has said nothing yet is starting: what stands in the file then is its predecessor's.
    """
    from .. import read_status, running_pid

    pid = running_pid(run_dir)
    if pid is None:
        return None
    said = read_status(run_dir)
    if said and said["pid"] == pid:
        return said
    moment = now.isoformat()
    return {
        "id": None,
        "host": socket.gethostname(),
        "pid": pid,
        "state": "starting",
        "started_at": moment,
        "written_at": moment,
    }


def _for_people(sight: Sight) -> None:
    for each in sight.supervisors:
        sign = output.coloured("●", "fail" if sight.reasons else "ok")
        up = span((sight.now - datetime.fromisoformat(each["started_at"])).total_seconds())
        seen = f"  seen {span(each['seen_seconds_ago'])} ago" if "seen_seconds_ago" in each else "  on this host"
        print(f"{sign} {each.get('state', 'running')}  {each['host']} pid {each['pid']}  up {up}{seen}")
        if each.get("workers"):
            output.table(WORKER, map(_worker, each["workers"]))
        if api := each.get("api"):
            print(f"api: {api['state']}" + (f", {api['url']}" if api["url"] else ""))
    for reason in sight.reasons:
        print(f"{output.coloured('unhealthy', 'unhealthy')}: {output.plain(reason)}")
    if sight.counts:
        print(_queue_in_words(sight.counts, sight.now))


def _queue_in_words(counts: Counts, now: datetime) -> str:
    oldest = counts.oldest_pending
    waiting = f" ({counts.scheduled} due later, {counts.waiting} behind a lane)" if counts.pending else ""
    age = f"; the oldest waits {span((now - oldest.created_at).total_seconds())}" if oldest else ""
    return (
        f"queue: {counts.pending} pending{waiting}, {counts.running} running, {counts.completed} completed, "
        f"{counts.failed} failed, {counts.cancelled} cancelled{age}"
    )


def _in_lines(sight: Sight) -> None:
    output.line("running", "yes" if sight.running else "no")
    output.line("healthy", "no" if sight.reasons else "yes")
    for reason in sight.reasons:
        output.line("reason", reason)
    for each in sight.supervisors:
        output.line("supervisor", each["id"], each["host"], each["pid"], each.get("state"), each["started_at"])
        for worker in each.get("workers", []):
            output.line("worker", *_worker(worker))
        if api := each.get("api"):
            output.line("api", api["state"], api["url"], api["pid"])
    for name in (
        ("pending", "scheduled", "waiting", "running", "completed", "failed", "cancelled") if sight.counts else ()
    ):
        output.line("jobs", name, getattr(sight.counts, name))


def _worker(worker: Mapping[str, Any]) -> tuple[Any, ...]:
    shown = {**worker, "since": span(worker["since"])} if "since" in worker else worker
    return tuple(shown.get(name) for name in WORKER)
