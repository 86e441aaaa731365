"""What one step may do: a small model of the promises, which knows nothing of how the queue keeps them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from backends import FINAL, MOVES, Kind, Status

from .seen import COUNTED, TOLD, Row, Said, Seen

SPENT = (Kind.FAILED, Kind.CRASHED, Kind.TIMED_OUT)
MOST_INTERRUPTIONS = 20


@dataclass(frozen=True, slots=True)
class Step:
    """What was asked for: verbs of the table of moves, and how each attempt that it was asked to end is to end.

    `said`: by job, what an attempt that holds it says of itself from now on; `wrote`: whose fenced transaction wrote a row.
    """

    verbs: tuple[str, ...] = ()
    ends: Mapping[tuple[int, int, str], Kind] = field(default_factory=dict)
    said: Mapping[int, Said] = field(default_factory=dict)
    wrote: tuple[tuple[int, int, str], ...] = ()


def broken(before: Seen, step: Step, after: Seen) -> list[str]:
    """Every promise that a step broke, in words."""
    return [
        *_moves(before, step, after), *_leases(before, after), *_lanes(after), *_ends(before, step, after),
        *_attempts(before, after), *_counters(after), *_words(before, step, after), *_effects(before, step, after),
    ]


def holds(row: Row | None, lease: int, tag: str) -> bool:
    """Whether this attempt is the one that holds the job."""
    return row is not None and row.status == Status.RUNNING and (row.lease, row.locked_by) == (lease, tag)


def _moves(before: Seen, step: Step, after: Seen) -> Iterator[str]:
    legal = {(str(move.before), str(move.after)) for move in MOVES if move.verb in step.verbs}
    for job in before.rows.keys() | after.rows.keys():
        was, became = before.rows.get(job), after.rows.get(job)
        if was is None and became is not None:
            if became.status != Status.PENDING or "add" not in step.verbs:
                yield f"G2: job {job} came into being as {became.status}"
        elif became is None and was is not None:
            if was.status not in FINAL or "prune" not in step.verbs:
                yield f"G1: job {job} is gone, and was {was.status}"
        elif was and became and was.status != became.status and (was.status, became.status) not in legal:
            yield f"G7: job {job} went from {was.status} to {became.status} by {step.verbs}"


def _leases(before: Seen, after: Seen) -> Iterator[str]:
    for row in after.rows.values():
        was = before.rows.get(row.id)
        if (row.locked_by is not None) != (row.status == Status.RUNNING):
            yield f"G5: job {row.id} is {row.status} and held by {row.locked_by}"
        claimed = was is not None and was.status != Status.RUNNING and row.status == Status.RUNNING
        if was is not None and row.lease != was.lease + claimed:
            yield f"G5: job {row.id} had lease {was.lease} ({was.status}) and has {row.lease} ({row.status})"
        if was is not None and was.status == row.status == Status.RUNNING and was.locked_by != row.locked_by:
            yield f"G5: job {row.id} went from {was.locked_by} to {row.locked_by} without a new lease"
        if row.ready and row.status != Status.PENDING:
            yield f"G5: job {row.id} is {row.status} and could be claimed"


def _lanes(after: Seen) -> Iterator[str]:
    for what in ("running", "running or ready"):
        going = Counter(
            row.lane for row in after.rows.values()
            if row.lane and (row.status == Status.RUNNING or (row.ready and what == "running or ready"))
        )
        for lane, number in going.items():
            if number > 1:
                yield f"lane {lane}: {number} jobs are {what}"


def _ends(before: Seen, step: Step, after: Seen) -> Iterator[str]:
    """Exactly the attempts ended that were to end and held their job, each as it was to."""
    asked = {job: kind for (job, lease, tag), kind in step.ends.items() if holds(before.rows.get(job), lease, tag)}
    for was in before.rows.values():
        became = after.rows.get(was.id)
        if was.status != Status.RUNNING or became is None:
            continue
        ended = became.status != Status.RUNNING
        if ended != (was.id in asked):
            yield f"G6: attempt {was.attempt} of {was.locked_by} " + ("was ended by others" if ended else "was not ended")
        elif ended and _came_to(became) != _expected(was, asked[was.id]):
            yield f"job {was.id} {asked[was.id]}: became {_came_to(became)} instead of {_expected(was, asked[was.id])}"


def _came_to(row: Row) -> tuple[str, int, int]:
    return row.status, row.retry_count, row.interruptions


def _expected(was: Row, kind: Kind) -> tuple[str, int, int]:
    """The status, the retries spent and the interruptions of a job after its attempt has ended in this way."""
    retries, interruptions = was.retry_count, was.interruptions
    if kind is Kind.COMPLETED:
        return Status.COMPLETED, retries, interruptions
    if kind is Kind.CANCELLED or was.asked_to_stop:
        return Status.CANCELLED, retries, interruptions
    if kind is Kind.GAVE_UP or (kind in SPENT and retries >= was.max_retries):
        return Status.FAILED, retries, interruptions
    interruptions += kind is Kind.INTERRUPTED
    return Status.FAILED if interruptions > MOST_INTERRUPTIONS else Status.PENDING, retries + (kind in SPENT), interruptions


def _attempts(before: Seen, after: Seen) -> Iterator[str]:
    """An attempt that ended other than completed is on record once; what is on record stays as long as the job does."""
    ended = Counter(
        (was.id, was.lease) for was in before.rows.values()
        if was.status == Status.RUNNING and after.rows[was.id].status not in (Status.RUNNING, Status.COMPLETED)
    )
    kept = Counter({attempt: number for attempt, number in before.attempts.items() if attempt[0] in after.rows})
    if lost := kept - after.attempts:
        yield f"G4: attempts went out of the record: {lost}"
    if (added := _by_lease(after.attempts - kept)) != ended:
        yield f"G4: attempts {dict(ended)} ended, and {dict(added)} were put on record"


def _by_lease(attempts: Counter[tuple[int, int, str, str]]) -> Counter[tuple[int, int]]:
    return Counter({(job, lease): number for (job, lease, *_), number in attempts.items()})


def _counters(after: Seen) -> Iterator[str]:
    for program in TOLD:
        counted = _counted(row for row in after.rows.values() if program in (0, row.program_id))
        if after.told[program] != counted:
            yield f"counters of program {program or 'all'} say {after.told[program]}, the rows {counted}"


def _counted(rows: Iterable[Row]) -> dict[str, int]:
    numbers = dict.fromkeys(COUNTED, 0)
    for row in rows:
        numbers[row.status] += 1
        if row.status == Status.PENDING and row.waits_for in ("time", "lane"):
            numbers["scheduled" if row.waits_for == "time" else "waiting"] += 1
    return numbers


def _words(before: Seen, step: Step, after: Seen) -> Iterator[str]:
    """What an attempt says of itself changes by its own word alone, and only while it holds the job."""
    for job, row in after.rows.items():
        former = before.rows[job].said if job in before.rows else Said(0, None)
        expected = step.said.get(job, former)
        if row.said != expected:
            yield f"G6: job {job} says {row.said} of itself instead of {expected}"


def _effects(before: Seen, step: Step, after: Seen) -> Iterator[str]:
    """A row that a handler writes in a fenced transaction is there exactly if its attempt held the job."""
    if after.effects != before.effects + Counter(step.wrote):
        yield f"G6: attempts wrote {dict(after.effects - before.effects)} instead of {step.wrote}"
