"""The checker: decides from histories and the witness whether a promise was broken, and names what was broken.

It knows nothing of how the queue works, only what it promised.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text

from backends import FINAL, MOVES, Status

from .history import Event, read_histories
from .witness import Change, Effect, read_changes, read_effects

LEGAL = {(str(move.before), str(move.after)) for move in MOVES}


class Attempt(NamedTuple):
    """What the queue keeps of an attempt that ended other than completed."""

    job: int
    lease: int
    outcome: str
    reason: str


class Row(NamedTuple):
    """A job as it stands at the end; `key` is its unique key, or its folder when it has none."""

    job: int
    status: str
    lease: int
    key: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a verdict rests on. `drained`: the queue was given all the time it needed, so nothing may be left."""

    history: list[Event]
    changes: list[Change]
    effects: list[Effect]
    rows: list[Row]
    attempts: list[Attempt]
    drained: bool = True


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, by its number in the contract, and how."""

    promise: str
    what: str

    def __str__(self) -> str:
        return f"{self.promise} broken: {self.what}"


def gather(engine: Engine, folder: Path, drained: bool = True) -> Evidence:
    """The evidence that a database and the histories in a folder hold."""
    with engine.connect() as connection:
        return Evidence(
            read_histories(folder), read_changes(connection), read_effects(connection), _rows(connection),
            _attempts(connection), drained,
        )


def _rows(connection: Connection) -> list[Row]:
    found = connection.execute(text("SELECT id, status, lease, coalesce(unique_key, folder_id) FROM indexing_jobs ORDER BY id"))
    return [Row(*row) for row in found]


def _attempts(connection: Connection) -> list[Attempt]:
    found = connection.execute(text("SELECT job_id, lease, outcome, reason FROM jobqueue_job_attempts ORDER BY id"))
    return [Attempt(*row) for row in found]


def check(evidence: Evidence) -> list[Violation]:
    """Every promise that was broken; an empty list is a pass."""
    return [violation for rule in RULES for violation in rule(evidence)]


def _enqueues(evidence: Evidence) -> Iterator[Event]:
    return (event for event in evidence.history if event.op == "enqueue")


def _pruned(evidence: Evidence) -> set[int]:
    """Jobs that were deleted after they were over, as housekeeping may do."""
    return {change.job for change in evidence.changes if change.became is None and change.was in FINAL}


def _nothing_is_lost(evidence: Evidence) -> Iterator[Violation]:
    kept = {(row.job, row.key) for row in evidence.rows}
    pruned = _pruned(evidence)
    for event in _enqueues(evidence):
        if event.what == "ok" and (event.job, event.key) not in kept and event.job not in pruned:
            yield Violation("G1", f"job {event.job} ({event.key}) was acknowledged and is gone")


def _nothing_is_invented(evidence: Evidence) -> Iterator[Violation]:
    asked, answers = set(), defaultdict(set)
    for event in _enqueues(evidence):
        (asked.add(event.key) if event.what == "invoke" else answers[event.key].add(event.what))
    for row in evidence.rows:
        if row.key not in asked:
            yield Violation("G2", f"job {row.job} ({row.key}) was never asked for")
        elif answers[row.key] == {"failed"}:
            yield Violation("G2", f"job {row.job} ({row.key}) exists although its transaction was rolled back")


def _a_transaction_is_whole(evidence: Evidence) -> Iterator[Violation]:
    """Of the jobs that a group asked for and that nobody had before, all are there or none."""
    groups, acknowledged = defaultdict[str, set[str]](set), set[str]()
    for event in _enqueues(evidence):
        if event.what == "invoke" and event.group and event.key not in acknowledged:
            groups[event.group].add(event.key)
        elif event.what == "ok":
            acknowledged.add(event.key)
    kept = {row.key for row in evidence.rows}
    for group, keys in groups.items():
        if 0 < len(keys & kept) < len(keys):
            yield Violation("G2", f"of the transaction {group!r} only {sorted(keys & kept)} of {sorted(keys)} are there")


def _a_key_stands_for_one_job(evidence: Evidence) -> Iterator[Violation]:
    ids = defaultdict(set)
    for event in _enqueues(evidence):
        if event.what == "ok":
            ids[event.key].add(event.job)
    for key, found in ids.items():
        if len(found) > 1:
            yield Violation("G3", f"key {key} was answered with jobs {sorted(found)}")


def _by_job(changes: Iterable[Change]) -> dict[int, list[Change]]:
    by_job = defaultdict(list)
    for change in changes:
        by_job[change.job].append(change)
    return by_job


def _one_lease_at_a_time(evidence: Evidence) -> Iterator[Violation]:
    for job, changes in _by_job(evidence.changes).items():
        lease = 0
        for change in changes:
            if change.became != Status.RUNNING:
                continue
            if change.was == Status.RUNNING or change.lease != lease + 1:
                yield Violation("G5", f"job {job} got lease {change.lease} ({change.tag}) while {change.was} under lease {lease}")
            lease = change.lease


def _every_run_was_granted(evidence: Evidence) -> Iterator[Violation]:
    """Whoever runs a job was given that lease under that tag, and the database remembers it."""
    runs = {(event.job, event.lease, event.tag) for event in evidence.history if event.op == "run"}
    for job, lease, tag in sorted(runs - grants(evidence)):
        yield Violation("G5", f"job {job} ran under lease {lease} ({tag}), which was never granted")


def grants(evidence: Evidence) -> set[tuple[int, int, str]]:
    """Every job, lease and tag that was claimed; with an empty tag, too, for those who do not say theirs."""
    claims = [change for change in evidence.changes if change.became == Status.RUNNING]
    return {(claim.job, claim.lease, tag) for claim in claims for tag in (claim.tag or "", "")}


def _nobody_lives_on(evidence: Evidence) -> Iterator[Violation]:
    """No sign of life of an attempt after the first one of a later attempt of the same job."""
    newest: dict[int, Event] = {}
    for event in evidence.history:
        if event.op != "run":
            continue
        former = newest.get(event.job)
        if former is None or event.lease > former.lease:
            newest[event.job] = event
        elif event.lease < former.lease:
            late = event.at - former.at
            zombie = f"lease {event.lease} ({event.actor}) was {event.what} {late:.3f} s after lease {former.lease} had started"
            yield Violation("G8", f"job {event.job}: {zombie}")


def _lanes_never_overlap(evidence: Evidence) -> Iterator[Violation]:
    holders: dict[str, int] = {}
    for change in evidence.changes:
        if not change.lane:
            continue
        if change.became == Status.RUNNING:
            if change.lane in holders:
                yield Violation("G5", f"lane {change.lane}: job {change.job} was claimed while job {holders[change.lane]} ran")
            holders[change.lane] = change.job
        elif change.was == Status.RUNNING and holders.get(change.lane) == change.job:
            del holders[change.lane]
    yield from _runs_overlap_in_a_lane(evidence)


def _runs_overlap_in_a_lane(evidence: Evidence) -> Iterator[Violation]:
    current: dict[str, tuple[int, int]] = {}
    for event in evidence.history:
        if event.op != "run" or not event.lane:
            continue
        run = event.job, event.lease
        if event.what == "started":
            current[event.lane] = run
        elif current.get(event.lane) != run:
            yield Violation("G5", f"lane {event.lane}: run {run} was {event.what} after {current.get(event.lane)} had started")


def _moves_are_legal(evidence: Evidence) -> Iterator[Violation]:
    for change in evidence.changes:
        if change.was is None or change.became is None or change.was == change.became:
            continue
        if (change.was, change.became) not in LEGAL:
            yield Violation("G7", f"job {change.job} went from {change.was} to {change.became}")


def _final_states_stay(evidence: Evidence) -> Iterator[Violation]:
    """A final state is left only by an operator's retry, at most once for each; a row that is pruned has none any more."""
    asked = Counter(event.job for event in evidence.history if event.op == "retry" and event.what == "invoke")
    for job, changes in _by_job(evidence.changes).items():
        left = [change for change in changes if change.was in FINAL and change.became not in (change.was, None)]
        if len(left) > asked[job]:
            yield Violation("G7", f"job {job} left a final state {len(left)} times, and was asked to {asked[job]} times: {left}")


def _superseded_attempts_write_nothing(evidence: Evidence) -> Iterator[Violation]:
    by_job = _by_job(evidence.changes)
    for effect in evidence.effects:
        before = by_job[effect.job][: effect.after]
        holder = before[-1] if before and before[-1].became == Status.RUNNING else None
        if holder is None or holder.lease != effect.lease or effect.tag not in (None, holder.tag):
            yield Violation("G6", f"job {effect.job}: lease {effect.lease} wrote rows after {before[-1:]}")
    for job, changes in by_job.items():
        for former, change in pairwise(changes):
            if former.became == Status.RUNNING and change.lease != former.lease and change.became != Status.RUNNING:
                yield Violation("G6", f"job {job}: lease {former.lease} was ended as lease {change.lease}")


def _second_runs_are_explained(evidence: Evidence) -> Iterator[Violation]:
    """Each lease that a handler saw and that did not end completed has an attempt with its reason, and no more than one."""
    reasons = Counter((attempt.job, attempt.lease) for attempt in evidence.attempts)
    started = {(event.job, event.lease) for event in evidence.history if event.op == "run" and event.what == "started"}
    pruned = _pruned(evidence)  # with its attempts
    for change in evidence.changes:
        if change.was != Status.RUNNING or change.became == Status.COMPLETED or change.job in pruned:
            continue
        run = change.job, change.lease
        if run in started and not reasons[run]:
            yield Violation("G4", f"job {change.job}: lease {change.lease} ran and went to {change.became}, and nothing says why")
    for (job, lease), times in reasons.items():
        if times > 1:
            yield Violation("G4", f"job {job}: lease {lease} was ended {times} times")


def _success_was_earned(evidence: Evidence) -> Iterator[Violation]:
    returned = {(event.job, event.lease) for event in evidence.history if event.op == "run" and event.what == "returned"}
    for change in evidence.changes:
        if change.became == Status.COMPLETED and change.was != change.became and (change.job, change.lease) not in returned:
            yield Violation("G6", f"job {change.job} is completed under lease {change.lease}, whose handler never returned")


def _everything_is_over(evidence: Evidence) -> Iterator[Violation]:
    if not evidence.drained:
        return
    for row in evidence.rows:
        if row.status not in FINAL:
            yield Violation("G1", f"job {row.job} ({row.key}) is still {row.status} after everything was given time to end")


RULES = (
    _nothing_is_lost, _nothing_is_invented, _a_transaction_is_whole, _a_key_stands_for_one_job, _one_lease_at_a_time,
    _every_run_was_granted,
    _nobody_lives_on, _lanes_never_overlap, _moves_are_legal, _final_states_stay, _superseded_attempts_write_nothing,
    _second_runs_are_explained, _success_was_earned, _everything_is_over,
)
