"""Scenes for tests of the queue: raw rows, whole rows to compare, and processes that race."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, column, create_engine, delete, event, func, insert, select, table, text, update

from backends import DatabaseUnavailable, Job, Kind, NewJob, Outcome, Queue, Role, Scope, indexing_jobs, memberships, users
from backends.dialects import one_writer
from backends.sqlite import driver
from backends.tables import count_deltas, counts, job_attempts, lanes, moment_text

DONE = Outcome(Kind.COMPLETED)
job = indexing_jobs.c


def row(queue: Queue, job_id: int) -> Row[Any]:
    """The whole row of a job, private columns included."""
    return queue.read(lambda connection: connection.execute(select(indexing_jobs).where(job.id == job_id)).one())


def everything(queue: Queue) -> dict[str, list[Any]]:
    """All that the queue's verbs may write, to see that nothing changed."""
    tables = (indexing_jobs, job_attempts, lanes, count_deltas, counts)
    return queue.read(
        lambda connection: {
            each.name: sorted(map(tuple, connection.execute(select(each))), key=repr) for each in tables
        }
    )


def clear(queue: Queue) -> None:
    """Leave no job, no attempt, no lane and no count."""
    with queue.engine.begin() as connection:
        for each in (indexing_jobs, job_attempts, lanes, count_deltas, counts):
            connection.execute(delete(each))


def insert_raw(engine: Engine | Connection, **values: Any) -> int:
    """Insert a job as any other program would, with nothing but the columns given; returns its id."""
    values = {"program_id": 1, "job_type": "quick"} | values
    plain = table("indexing_jobs", *(column(name) for name in [*values, "id"]))
    statement = insert(plain).values(values).returning(plain.c.id)
    if isinstance(engine, Connection):
        return int(engine.execute(statement).scalar_one())
    with engine.begin() as connection:
        return int(connection.execute(statement).scalar_one())


def insert_many(engine: Engine, number: int, **values: str) -> None:
    """Insert many rows at once; values are SQL expressions, in which `n` counts from 1."""
    values = {"program_id": "1", "job_type": "'quick'"} | values
    series = (
        f"WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {number})"
        if one_writer(engine) else f"WITH series AS (SELECT generate_series(1, {number}) AS n)"
    )
    with engine.begin() as connection:
        connection.execute(
            text(f"INSERT INTO indexing_jobs ({', '.join(values)}) {series} SELECT {', '.join(values.values())} FROM series")
        )


def change(engine: Engine, job_id: int, **values: Any) -> None:
    """Change a job behind the queue's back."""
    with engine.begin() as connection:
        connection.execute(update(indexing_jobs).where(job.id == job_id).values(**values))


def member(engine: Engine, *program_ids: int, role: Role = Role.OPERATOR, wanted: Role = Role.VIEWER) -> Scope:
    """Somebody new with this role in these programs; returns what they see when `wanted` is needed."""
    with engine.begin() as connection:
        name = f"user {connection.execute(select(func.count()).select_from(users)).scalar_one()}"
        user_id = connection.execute(insert(users).values(name=name).returning(users.c.id)).scalar_one()
        for program_id in program_ids:
            connection.execute(insert(memberships).values(user_id=user_id, program_id=program_id, role=role))
    return Scope(user_id, wanted)


def time_text(engine: Engine, seconds_ago: float) -> str:
    """An SQL expression for a time so many seconds ago."""
    if one_writer(engine):
        return f"strftime('%Y-%m-%d %H:%M:%f', 'now', '{-seconds_ago} seconds') || '000+00:00'"
    return f"clock_timestamp() - make_interval(secs => {seconds_ago})"


def analyze(engine: Engine) -> None:
    """Let the planner know what the tables hold."""
    with engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE")


def plans(engine: Engine, words: str, work: Callable[[], Any]) -> list[str]:
    """Do some work, and return how the database planned each statement with these words when it was sent, in order."""
    explain = "EXPLAIN QUERY PLAN" if one_writer(engine) else "EXPLAIN"
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        if words in statement and not statement.startswith("EXPLAIN"):
            lines = connection.exec_driver_sql(f"{explain} {statement}", parameters[0] if executemany else parameters)
            seen.append("\n".join(str(line[-1]) for line in lines))

    event.listen(engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert seen, f"no statement with {words!r} was sent"
    return seen


def foreign_engine(url: str) -> Engine:
    """An engine as another program would open it: the same library, none of our care."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        return create_engine("sqlite://", module=driver, creator=lambda: driver.connect(path, timeout=30))
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"))


def claim_one(queue: Queue, tag: str = "tester:0001", *types: str) -> Job:
    """Claim exactly one job."""
    (claimed,) = queue.claim(tag, types or ("quick", "other", "laned", "also_laned"), 1)
    return claimed


def running(queue: Queue, tag: str = "tester:0001", **values: Any) -> Job:
    """Enqueue a job and claim it."""
    (job_id,) = queue.enqueue([NewJob(**({"job_type": "quick", "program_id": 1} | values))])
    claimed = claim_one(queue, tag)
    assert claimed.id == job_id
    return claimed


def waiters(engine: Engine) -> int:
    """How many transactions of this Postgres database wait for a lock that another holds."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with engine.connect() as connection:
        return int(connection.execute(text(waiting)).scalar_one())


@contextmanager
def waiting_for_nobody() -> Iterator[None]:
    """Fail in so many words when the body waits for a row that another transaction holds, until the database gives it up."""
    try:
        yield
    except DatabaseUnavailable as error:
        raise AssertionError("it waited for what another transaction holds") from error


def later(row_time: Any, seconds: float) -> Any:
    """A moment so many seconds after another."""
    return moment_text(row_time + timedelta(seconds=seconds))


def in_processes(engine: Engine, work: Callable[[Any], Any], arguments: Sequence[Any], within: float = 60.0) -> list[Any]:
    """Call `work` with each argument in a forked process of its own, all at once; returns the answers (JSON) in order.

    The engine's connections are closed first: none may be carried over a fork.
    """
    engine.dispose()
    children = [_fork(work, argument) for argument in arguments]
    return [_answer(pid, reader, time.monotonic() + within) for pid, reader in children]


def _fork(work: Callable[[Any], Any], argument: Any) -> tuple[int, int]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    os.close(reader)
    try:
        answer = {"answer": work(argument)}
    except BaseException:
        answer = {"error": traceback.format_exc()}
    with os.fdopen(writer, "w") as pipe:
        json.dump(answer, pipe)
    os._exit(0)


def _answer(pid: int, reader: int, deadline: float) -> Any:
    with os.fdopen(reader) as pipe:
        said = json.loads(pipe.read() or '{"error": "died without a word"}')
    os.waitpid(pid, 0)
    assert "error" not in said, said["error"]
    return said["answer"]
