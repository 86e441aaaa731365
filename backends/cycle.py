"""The worker's cycle: settle what is finished and claim what is next, at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from . import hot, statements
from .admission import admit
from .dialects import AnyRow
from .ending import Settled
from .engine import as_unavailable
from .job import Job, Kind, Outcome
from .lanes import go_on, is_overlap, keep_apart
from .looks import Looks, Near
from .trips import Trips

EXAMINED_AT_LEAST = 100
"""Jobs that a claim examines when nothing is ready, however few it wants: most may be nothing for it."""

Finished = Sequence[tuple[Job, Outcome]]
Parameters = dict[str, Any]
End = Callable[[Connection, Sequence[AnyRow], Callable[[AnyRow], Outcome]], list[Settled]]


class Cycle(NamedTuple):
    """What one settle-and-claim did: attempts whose lease was lost (nothing of theirs was written), and the new claims.

    `kept_apart` are jobs that somebody had made ready beside another of their lane. Nothing is claimed then; they wait again.
    """

    lost: list[Job]
    claimed: list[Job]
    kept_apart: Sequence[int] | None = None


class Cycles:
    """The cycles of one process, which remembers how dear its looks at the ready jobs were. `end` ends attempts one by one."""

    def __init__(self, trips: Trips, end: End) -> None:
        self._trips = trips
        self._one_writer = trips.one_writer
        self._end = end
        self._looks = Looks()

    def run(
        self, done_tag: str, finished: Finished, tag: str, job_types: Sequence[str], limit: int, admitting: bool
    ) -> Cycle:
        """Settle what is finished of the claim under `done_tag`; claim up to `limit` jobs under `tag`. As `settle_and_claim`."""
        parameters = self._parameters(done_tag, tag, job_types)
        try:
            cycle = self._once(finished, limit, parameters, admitting)
        except IntegrityError as error:
            if not is_overlap(error):
                raise
            apart = self._trips.write(lambda connection: keep_apart(connection, job_types, max(limit, EXAMINED_AT_LEAST)))
            cycle = self._once(finished, 0, parameters, admitting)._replace(kept_apart=apart)
        # Whoever took the job may have been another program, which lets no lane go on.
        if left := {each.lane for each in cycle.lost if each.lane is not None}:
            self._trips.write(lambda connection: go_on(connection, left))
        return cycle

    def _parameters(self, done_tag: str, tag: str, job_types: Sequence[str]) -> Parameters:
        return {
            "done_tag": done_tag,
            "tag": tag,
            "job_types": statements.listed(job_types, self._one_writer),
            **statements.boot_parameters(self._one_writer),
        }

    def _once(self, finished: Finished, limit: int, parameters: Parameters, admitting: bool) -> Cycle:
        short = [each for each, outcome in finished if _is_plain(each, outcome)]
        rest = [pair for pair in finished if not _is_plain(*pair)]
        if limit and not rest and not self._one_writer:
            cycle = self._in_one_statement(short, limit, parameters)
            if short or cycle.claimed or not admitting:
                return cycle
        admitting = admitting and not finished
        in_steps = self._in_steps
        try:
            return self._trips.write(lambda connection: in_steps(connection, short, rest, limit, parameters, admitting))
        except hot.PartlyLost:
            return self._trips.write(lambda connection: in_steps(connection, [], finished, limit, parameters, False))

    def _in_one_statement(self, done: list[Job], limit: int, parameters: Parameters) -> Cycle:
        """Postgres: no BEGIN and no COMMIT of their own, so one round trip."""
        settled: set[int] = set()

        def settle_and_claim(near: Near | None) -> list[Job]:
            given = parameters | _of(near)
            ids, claimed = hot.settle_and_claim_on_postgres(connection, done, limit, given, near is not None)
            settled.update(ids)
            return _in_order(claimed)

        with as_unavailable(), self._trips.in_one() as connection:
            if not done:
                return Cycle([], self._claim(connection, limit, parameters, admitting=False))
            claimed = self._looks.claim(settle_and_claim, limit, settled=len(done))
        return Cycle([each for each in done if each.id not in settled], claimed)

    def _in_steps(
        self, connection: Connection, short: list[Job], rest: Finished, limit: int, parameters: Parameters, admitting: bool
    ) -> Cycle:
        settled = self._settle_short(connection, short, parameters)
        outcomes = {each.id: outcome for each, outcome in rest}
        if rest:
            mine = statements.still_mine(parameters["done_tag"], [each for each, _ in rest])
            rows = connection.execute(statements.ended(mine, skip_locked=False)).all()
            settled |= {one.job_id for one in self._end(connection, rows, lambda row: outcomes[row.id])}
        lost = [each for each in [*short, *(each for each, _ in rest)] if each.id not in settled]
        # Whatever is not plain may let go on, or make ready again, a job that is older than what a near look sees.
        return Cycle(lost, self._claim(connection, limit, parameters, admitting, at_all=bool(rest)))

    def _settle_short(self, connection: Connection, done: list[Job], parameters: Parameters) -> set[int]:
        settle = hot.settle_on_sqlite if self._one_writer else hot.settle_on_postgres
        return settle(connection, done, parameters)

    def _claim(
        self, connection: Connection, limit: int, parameters: Parameters, admitting: bool, at_all: bool = False
    ) -> list[Job]:
        """Claim; when nothing is ready, admit first what may be."""

        def ask(near: Near | None) -> list[Job]:
            statement = hot.claim_of(limit, self._one_writer, near is not None)
            return _in_order([Job._make(row) for row in connection.execute(statement, parameters | _of(near))])

        if not limit:
            return []
        # On SQLite no look reads past what is done.
        claimed = self._looks.claim(ask, limit, at_all=at_all or self._one_writer)
        if not claimed and admitting and admit(connection, max(limit, EXAMINED_AT_LEAST)).ready:
            claimed = self._looks.claim(ask, limit, at_all=True)
        return claimed


def _of(near: Near | None) -> Parameters:
    return {"least_priority": near.priority, "since": near.since} if near else {}


def _is_plain(each: Job, outcome: Outcome) -> bool:
    """A success that leaves nobody to promote and nothing to delete: it needs no look at the job's row."""
    return outcome.kind is Kind.COMPLETED and each.lane is None and not each.holds_secrets


def _in_order(claimed: list[Job]) -> list[Job]:
    return sorted(claimed, key=lambda each: (-each.priority, each.created_at, each.id))
