"""The queue: one method for each verb, the same on SQLite and Postgres.

Every method raises `DatabaseUnavailable` when the database cannot be reached, does not answer in time, is read-only or
full; nothing is known to be wrong with the request then, and it may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.engine import Connection, Engine

from . import fleet, pages, reading, statements
from .admission import admit, admit_again, seconds_until_due
from .backoff import RetryPolicy
from .counters import fold_counts
from .cycle import Cycle, Cycles
from .ending import Settled, end
from .engine import as_unavailable
from .enqueueing import Insertion
from .fleet import JobTypeFacts, SupervisorReport, SupervisorView
from .job import Job, Kind, LeaseLost, NewJob, Outcome, Status
from .lanes import go_on, without_head
from .measures import Measures, measure
from .old_secrets import has_old_secrets, take_old_secrets
from .operating import CancelAnswer, RetryAnswer, cancel, retry
from .pages import JobPage
from .pruning import Pruned, Walk, prune
from .reading import ATTEMPTS_SHOWN, Counts
from .scope import EVERYTHING, Scope
from .secrets import sweep_secrets
from .statistics import Sum, record
from .tables import indexing_jobs
from .trips import Answer, Trips
from .views import AttemptView, JobView

job = indexing_jobs.c

REVIVED_AT_ONCE = 50
"""Lanes that one transaction lets go on: each takes a few milliseconds, and on SQLite nobody else writes meanwhile."""


class Renewed(NamedTuple):
    """One running job whose lease was renewed."""

    tag: str
    job_id: int
    lease: int
    cancel_requested: bool


class Enqueued(NamedTuple):
    """The id of a job that was added, or, when it is not new, of the one that had its unique key."""

    id: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Death:
    """What is known of a worker that died: its claim tags, the job it ran (0: none), how that attempt ended, and its pid.

    `neighbours` is how the other jobs under its tags end.
    """

    tags: tuple[str, ...]
    job_id: int
    lease: int
    kind: Kind
    reason: str
    detail: str = ""
    pid: int | None = None
    neighbours: Kind = Kind.RELEASED


class Queue:
    """The verbs of the queue over one engine. `policies` say how each job type is retried."""

    def __init__(
        self, engine: Engine, policies: Mapping[str, RetryPolicy] | None = None, random: Random | None = None
    ) -> None:
        self.engine = engine
        self._policies = policies or {}
        self._random = random or Random()
        self._pruning = Walk()
        self._swept_to = 0
        self._lanes_seen_to: str | None = None
        self._left_unexamined = False
        self._trips = Trips(engine)
        self._one_writer = self._trips.one_writer
        self._write = self._trips.write
        self._cycles = Cycles(self._trips, self._end)

    # Enqueue

    def enqueue(self, jobs: Sequence[NewJob], connection: Connection | None = None) -> list[int]:
        """Add jobs, in the caller's transaction when given a connection; returns their ids in order.

        A job whose `(program_id, unique_key)` exists already is not added; its id is the existing one. Writers of the same keys
        wait for each other, and do not deadlock whatever the order of theirs, within one call.
        Secrets among the parameters (see `extraction`) are kept encrypted, and are `ctx.secret(path)` for its handler.
        Raises `BadParameters` for parameters that cannot be stored, `KeyProblem` for secrets that nothing can encrypt.
        """
        insertion = Insertion(jobs)
        if connection is not None:
            return insertion.insert(connection)
        with as_unavailable(), self._trips.in_one() if insertion.in_one_statement else self.engine.begin() as own:
            return insertion.insert(own)

    def enqueue_once(self, new: NewJob, connection: Connection) -> Enqueued:
        """Add a job in the caller's transaction, unless its unique key is taken; says which. Raises as `enqueue` does."""
        insertion = Insertion([new])
        [job_id] = insertion.insert(connection)
        return Enqueued(job_id, is_new=not insertion.repeated)

    # The worker's verbs

    def claim(self, tag: str, job_types: Sequence[str], limit: int) -> list[Job]:
        """Move up to `limit` ready jobs of these types to running under a new claim tag, best first."""
        return self.settle_and_claim("", [], tag, job_types, limit).claimed

    def settle(self, tag: str, finished: Sequence[tuple[Job, Outcome]]) -> list[Job]:
        """Record the outcomes of attempts claimed under `tag`; returns those whose lease was lost."""
        return self.settle_and_claim(tag, finished, "", (), 0).lost

    def settle_and_claim(
        self,
        done_tag: str,
        finished: Sequence[tuple[Job, Outcome]],
        tag: str,
        job_types: Sequence[str],
        limit: int,
        admitting: bool = True,
    ) -> Cycle:
        """Settle what is finished and claim what is next, in one transaction.

        A claim that finds nothing ready admits first when it is `admitting`, unless something was settled: lanes are locked
        once in a transaction.
        """
        return self._cycles.run(done_tag, finished, tag, job_types, limit, admitting)

    @contextmanager
    def transaction(self, tag: str, mine: Job) -> Iterator[Connection]:
        """A transaction that begins with the fence: nobody ends this attempt before it is over. Keep it short.

        Raises `LeaseLost` when the attempt does not hold the job any more.
        """
        with as_unavailable(), self.engine.begin() as connection:
            if connection.execute(statements.fence(tag, mine)).first() is None:
                raise LeaseLost(f"job {mine.id} is not held under lease {mine.lease} any more")
            yield connection

    def progress(self, tag: str, mine: Job, values: Mapping[str, Any]) -> None:
        """Write progress columns of a running job. Raises `LeaseLost`."""
        self._write_mine(tag, mine, values)

    def checkpoint(self, tag: str, mine: Job, text: str | None) -> None:
        """Keep JSON text for the job's later attempts. Raises `LeaseLost`."""
        self._write_mine(tag, mine, {"checkpoint": text})

    def _write_mine(self, tag: str, mine: Job, values: Mapping[str, Any]) -> None:
        statement = update(indexing_jobs).where(statements.still_mine(tag, [mine])).values(**values)
        if self._write(lambda connection: connection.execute(statement).rowcount) == 0:
            raise LeaseLost(f"job {mine.id} is not held under lease {mine.lease} any more")

    # Leases

    def heartbeat(self, tags: Sequence[str]) -> list[Renewed]:
        """Renew the leases of everything running under these tags; rows that others hold locked are left out."""
        if not tags:
            return []
        parameters = {"tags": statements.listed(tags, self._one_writer), **statements.boot_parameters(self._one_writer)}
        with as_unavailable(), self._trips.in_one() as connection:
            rows = connection.execute(_RENEW, parameters).all()
        return [Renewed(row.locked_by, row.id, row.lease, bool(row.cancel_requested)) for row in rows]

    def held(self, tags: Sequence[str]) -> set[str]:
        """Those of the tags that still have running jobs."""
        statement = select(job.locked_by).where(statements.of_tags()).distinct()
        parameters = {"tags": statements.listed(tags, self._one_writer)}
        return set(self.read(lambda connection: connection.execute(statement, parameters).scalars().all()))

    def release(self, tags: Sequence[str], reason: str, interrupted: bool) -> int:
        """Give back everything running under these tags, unspent; `interrupted` counts it as an interruption."""
        outcome = Outcome(Kind.INTERRUPTED if interrupted else Kind.RELEASED, reason)
        return len(self._end_of_tags(tags, lambda row: outcome))

    def reclaim(self, death: Death) -> list[Settled]:
        """Take back what a dead worker held: the job it ran is charged as the death says, its neighbours spend no retry.

        Nobody knows which neighbours had run to their end and were about to be settled, so each keeps an attempt that says why
        it may run twice.
        """

        def outcome_of(row: Any) -> Outcome:
            if row.id == death.job_id and row.lease == death.lease:
                return Outcome(death.kind, death.reason, death.detail)
            return Outcome(death.neighbours, f"not settled before its worker died: {death.reason}")

        return self._end_of_tags(death.tags, outcome_of)

    def reclaim_expired(self, lock_timeout: float) -> list[Settled]:
        """Take back what nobody has renewed for `lock_timeout` seconds; a lost host is an interruption, not a failure.

        Where a supervisor that is alive has a longer one, for that: its workers hold their leases so long.
        """
        statement = statements.ended(statements.expired(self._one_writer), skip_locked=True, limit=500)
        return self._write(lambda connection: self._take_back_dead(connection, statement, lock_timeout))

    def reset_stuck(
        self,
        program_id: int,
        lock_timeout: float,
        scope: Scope = EVERYTHING,
        connection: Connection | None = None,
    ) -> list[Settled]:
        """Take back a program's jobs that nobody has renewed for `lock_timeout` seconds; never one whose lease is alive.

        Where a supervisor that is alive has a longer one, for that.
        In the caller's transaction when given a connection. Nothing is found in a program outside the scope.
        """
        theirs = (job.program_id == program_id) & scope.holds_for(job.program_id)
        statement = statements.ended(statements.expired(self._one_writer) & theirs, skip_locked=True)
        if connection is not None:
            return self._take_back_dead(connection, statement, lock_timeout)
        return self._write(lambda connection: self._take_back_dead(connection, statement, lock_timeout))

    def _take_back_dead(self, connection: Connection, statement: Any, lock_timeout: float) -> list[Settled]:
        parameters = fleet.expiry_parameters(connection, lock_timeout)
        reason = f"lease not renewed for {parameters['lock_timeout']:g} s: its host or supervisor is gone"
        rows = connection.execute(statement, parameters).all()
        return self._end(connection, rows, lambda row: Outcome(Kind.INTERRUPTED, reason))

    def _end_of_tags(self, tags: Sequence[str], outcome_of: Callable[[Any], Outcome]) -> list[Settled]:
        if not tags:
            return []
        statement = statements.ended(statements.of_tags(), skip_locked=False)
        parameters = {"tags": statements.listed(tags, self._one_writer)}

        def take_back(connection: Connection) -> list[Settled]:
            return self._end(connection, connection.execute(statement, parameters).all(), outcome_of)

        return self._write(take_back)

    def _end(self, connection: Connection, rows: Sequence[Any], outcome_of: Callable[[Any], Outcome]) -> list[Settled]:
        return end(connection, rows, outcome_of, self._policies, self._random)

    # Admission, operators, housekeeping

    def admit(self, limit: int = 500) -> int:
        """Examine new and due jobs; returns how many became ready.

        Jobs whose parameters take long to be searched for secrets are left for the next call; `next_due` says so.
        """
        admitted = self._write(lambda connection: admit(connection, limit))
        # In a transaction of its own: lanes are locked once in each.
        again = self._write(lambda connection: admit_again(connection, limit))
        self._left_unexamined = admitted.left_some or again.left_some
        return admitted.ready + again.ready

    def next_due(self) -> float | None:
        """Seconds until there is something to admit: the earliest job that waits for its time; None when none does."""
        return 0.0 if self._left_unexamined else self.read(seconds_until_due)

    def revive_lanes(self, batch: int = 1000) -> int:
        """Let lanes go on whose head another program deleted or ended, among the next `batch` in which jobs wait.

        Goes on where the last call stopped; returns how many jobs became ready. Costs nothing that grows with the jobs.
        """
        standing, there = self.read(lambda connection: without_head(connection, self._lanes_seen_to, batch))
        if len(standing) > REVIVED_AT_ONCE:
            standing, there = standing[:REVIVED_AT_ONCE], standing[REVIVED_AT_ONCE - 1]
        ready = self._write(lambda connection: go_on(connection, standing)) if standing else 0
        self._lanes_seen_to = there
        return ready

    def cancel(self, job_id: int, scope: Scope = EVERYTHING, connection: Connection | None = None) -> CancelAnswer:
        """Cancel a queued job at once; ask a running one to stop. In the caller's transaction when given a connection."""
        if connection is not None:
            return cancel(connection, job_id, scope)
        return self._write(lambda connection: cancel(connection, job_id, scope))

    def retry(self, job_id: int, scope: Scope = EVERYTHING, connection: Connection | None = None) -> RetryAnswer:
        """Put a finished job back with its retries unspent. In the caller's transaction when given a connection."""
        if connection is not None:
            return retry(connection, job_id, scope)
        return self._write(lambda connection: retry(connection, job_id, scope))

    def prune(self, retention: Mapping[Status, float], batch: int = 1000) -> Pruned:
        """Delete finished jobs older than their status's retention in seconds, among the next `batch` rows.

        Goes on where the last call stopped. A job that a row of another table refers to, and must not lose, stays.
        """
        step = self._write(lambda connection: prune(connection, retention, batch, self._pruning.position))
        return self._pruning.took(step)

    def sweep_secrets(self, batch: int = 1000) -> int:
        """Delete secrets whose job is gone or was over before they were stored, among the next `batch`; as `prune` goes on."""
        gone, self._swept_to = self._write(lambda connection: sweep_secrets(connection, batch, self._swept_to))
        return gone

    def take_old_secrets(self, batch: int = 500) -> int:
        """Take secrets out of the next `batch` jobs that are older than the table of secrets; 0 when there are none."""
        return self._write(lambda connection: take_old_secrets(connection, batch)) if self.read(has_old_secrets) else 0

    def fold_counts(self) -> int:
        """Fold appended changes into the counters; returns how many were folded."""
        return self._write(fold_counts)

    # The fleet

    def register(self, types: Mapping[str, JobTypeFacts], supervisor_id: str, alive_within: float = 30.0) -> None:
        """Make job types known to all. Raises `LaneDisagreement` when a living supervisor gives one another lane."""
        self._write(lambda connection: fleet.register(connection, types, supervisor_id, alive_within))

    def was_served(self, job_type: str, connection: Connection) -> bool:
        """Whether a supervisor has ever served this job type; jobs of others wait until one does."""
        return fleet.was_served(connection, job_type)

    def report(self, own: SupervisorReport) -> None:
        """Say that a supervisor lives, and how it is."""
        self._write(lambda connection: fleet.report(connection, own))

    def forget(self, supervisor_id: str) -> None:
        """A supervisor has left."""
        self._write(lambda connection: fleet.forget(connection, supervisor_id))

    def supervisors(self, within: float = 86_400.0) -> Sequence[SupervisorView]:
        """The supervisors heard of within so many seconds."""
        return self.read(lambda connection: fleet.living(connection, within))

    # Statistics

    def record(self, additions: Mapping[Sum, float]) -> None:
        """Add to the sums that `/metrics` shows. After an error that hid a success they are counted twice if repeated."""
        self._write(lambda connection: record(connection, additions))

    def measures(self, lock_timeout: float, heard_within: float = 600.0) -> Measures:
        """The state of the whole installation; supervisors not heard of within `heard_within` seconds are left out."""
        return self.read(lambda connection: measure(connection, lock_timeout, heard_within))

    # Reading

    def get(self, job_id: int, scope: Scope = EVERYTHING, connection: Connection | None = None) -> JobView | None:
        """The job of that id; None when there is none within the scope."""
        return self._look(lambda connection: reading.get(connection, job_id, scope), connection)

    def page(
        self,
        program_id: int | None = None,
        status: str | None = None,
        job_type: str | None = None,
        limit: int = 20,
        before: int | None = None,
        scope: Scope = EVERYTHING,
        connection: Connection | None = None,
    ) -> JobPage:
        """At most `limit` jobs within the scope, newest first; `before` is the former page's `next_before`.

        Where no index serves the filters it looks at 10,000 rows and answers with what it found: a page may hold fewer
        jobs than `limit`, even none, and still have a `next_before`.
        """
        return self._look(
            lambda connection: pages.page(connection, program_id, status, job_type, limit, before, scope), connection
        )

    def attempts(
        self, job_id: int, connection: Connection | None = None, limit: int = ATTEMPTS_SHOWN
    ) -> list[AttemptView]:
        """The newest `limit` of the job's attempts that ended other than completed, oldest first."""
        return self._look(lambda connection: reading.attempts(connection, job_id, limit), connection)

    def counts(
        self, program_id: int | None = None, scope: Scope = EVERYTHING, connection: Connection | None = None
    ) -> Counts:
        """How many jobs there are in each status within the scope, of one program or of all.

        In the caller's transaction when given a connection.
        """
        if connection is not None:
            return reading.count(connection, program_id, scope)
        return self.read(lambda connection: reading.count(connection, program_id, scope))

    def why(
        self,
        job_id: int,
        alive_within: float = 30.0,
        scope: Scope = EVERYTHING,
        connection: Connection | None = None,
    ) -> list[str] | None:
        """What a job is waiting for, in sentences; None when there is no such job within the scope."""
        return self._look(lambda connection: reading.why(connection, job_id, alive_within, scope), connection)

    def _look(self, work: Callable[[Connection], Answer], connection: Connection | None) -> Answer:
        """In the caller's transaction when there is one: several looks of one request cost one transaction."""
        return self.read(work) if connection is None else work(connection)

    def read(self, work: Callable[[Connection], Answer]) -> Answer:
        """Run a reading function in a transaction that takes no write lock."""
        return self._trips.read(work)


_RENEW = statements.renew()
