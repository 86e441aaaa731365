"""`doctor`: look at everything a healthy installation needs, and say what to do about what is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from . import checks, output
from .checks import Finding
from .handlers import probe_handlers, problems_of
from .opening import load, open_database, problem_of
from .options import AsJson, ConfigFile
from .problems import Exit, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from backends import Queue, Stale
    from config import Problem as ConfigProblem
    from config import Settings

SIGNS = {"ok": "✓", "warn": "!", "fail": "✗"}


def add_to(app: typer.Typer) -> None:
    """Hang `doctor` into the tree of commands."""
    app.command()(doctor)


def doctor(as_json: AsJson = False, config: ConfigFile = None) -> int:
    """Check configuration, database, schema, clock, handlers, processes and jobs, and say how to mend what is wrong."""
    findings = list(examine(config))
    failed = any(finding.level == "fail" for finding in findings)
    if as_json:
        output.document({"ok": not failed, "findings": [finding.as_dict() for finding in findings]})
    elif output.for_people():
        _for_people(findings)
    else:
        for each in findings:
            output.line(each.level, each.id, each.group, each.what, each.fix)
    return Exit.FAILED if failed else Exit.OK


def examine(file: Path | None) -> Iterator[Finding]:
    """Everything that `doctor` finds, in the order in which one thing needs the other; what cannot be looked at is left out."""
    from config import ConfigError

    try:
        loaded = load(file)
    except ConfigError as error:
        yield from map(_of_config, error.problems)
        return
    yield from map(_of_config, loaded.warnings)
    yield Finding("config", "CFG", "ok", f"{loaded.path} can be used")
    found = probe_handlers(loaded)
    failures = [(problem.message, problem.hint) for problem in problems_of(loaded, found)]
    yield from checks.handlers(failures, found.unfit, len(loaded.settings.job_types))
    try:
        with open_database(loaded.settings) as engine:
            yield from _examine_database(engine, loaded.settings)
    except Problem as error:
        yield Finding("database", error.name, "fail", error.what, error.fix)


def _examine_database(engine: Engine, settings: Settings) -> Iterator[Finding]:
    from backends import Queue, check, database_clock, head

    queue = Queue(engine)
    yield from checks.clock(queue.read(database_clock), datetime.now(UTC))
    yield from _examine_sqlite(queue) if engine.dialect.name == "sqlite" else _examine_postgres(queue, settings)
    check(engine)
    yield Finding("database", "DB-SCHEMA", "ok", f"schema {head()}")
    yield from _examine_queue(queue, settings)


def _examine_sqlite(queue: Queue) -> Iterator[Finding]:
    from backends import filesystem_of, log_size, server_settings, sqlite_file

    yield from checks.sqlite_library(queue.read(server_settings))
    file = str(queue.read(sqlite_file))
    yield from checks.file_system(filesystem_of(file), file)
    yield from checks.sqlite_log(log_size(queue.engine) or 0, file)


def _examine_postgres(queue: Queue, settings: Settings) -> Iterator[Finding]:
    from backends import connections_in_use, oldest_transaction, server_settings

    server = queue.read(server_settings)
    yield from checks.postgres_durability(server)
    yield from checks.postgres_commits(_unsafe_commits(queue), server["synchronous_commit"])
    yield from checks.postgres_transactions(queue.read(oldest_transaction))
    if settings.database.pooler == "none":
        in_use = queue.read(connections_in_use)
        yield from checks.postgres_connections(int(server["max_connections"]), in_use, settings.workers.count)


def _unsafe_commits(queue: Queue) -> Problem | None:
    from backends import UnsafeCommits, refuse_unsafe_commits

    try:
        queue.read(refuse_unsafe_commits)
    except UnsafeCommits as error:
        return problem_of(error)
    return None


def _examine_queue(queue: Queue, settings: Settings) -> Iterator[Finding]:
    from backends import keys_in_want, stale_leases, waiting_without_handler

    def stale(connection: Connection) -> list[Stale]:
        return stale_leases(connection, settings.lock_timeout)

    yield from checks.keys(queue.read(keys_in_want))
    ages = {f"{each.host} pid {each.pid}": each.age for each in queue.supervisors()}
    yield from checks.supervisors(ages, settings.lock_timeout)
    yield from checks.leases(queue.read(stale))
    yield from checks.unserved(queue.read(waiting_without_handler), settings.job_types)


def _of_config(problem: ConfigProblem) -> Finding:
    where = f"{problem.where}: " if problem.where else ""
    return Finding(
        "config", problem.code, "fail" if problem.severity == "error" else "warn", where + problem.message, problem.hint
    )


def _for_people(findings: Iterable[Finding]) -> None:
    for group, members in groupby(findings, key=lambda finding: finding.group):
        print(group)
        for each in members:
            sign = output.coloured(SIGNS[each.level], each.level)
            name = "" if each.level == "ok" else f"  [{each.id}]"
            print(f"  {sign} {output.plain(each.what)}{name}")
            if each.fix:
                print(f"      fix: {output.plain(each.fix)}")
