"""The checker: decides from histories and the witness whether a promise was broken, and names what was broken.

It knows nothing of how the queue works, only what it promised; each rule is a function whose sentence is what may not happen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import NamedTuple

from .evidence import Attempt, Evidence, Row, gather
from .history import Event
from .witness import SIGNED, Change, signature

__all__ = ["RULES", "Attempt", "Change", "Evidence", "Row", "Violation", "check", "gather", "grants"]

PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = "pending", "running", "completed", "failed", "cancelled"
FINAL = (COMPLETED, FAILED, CANCELLED)
MOVES = {
    (None, PENDING), (PENDING, RUNNING), (PENDING, CANCELLED), *((RUNNING, end) for end in (PENDING, *FINAL)),
    *((end, after) for end in FINAL for after in (PENDING, None)),
}
"""What may become of a job: it waits, runs, waits again or is over; then an operator may retry it, or it is pruned."""

SPEND_A_RETRY = ("failed", "crashed", "timed_out")
OF_THE_HANDLER = ("failed", "gave_up", "snoozed")
"""Outcomes that nobody but the handler can have asked for."""

MOST_INTERRUPTIONS = 20
READ_APART = 0.05
"""Seconds by which the clocks of a database and of a history, on one machine, may differ."""

Run = tuple[int, int]
"""A job and a lease of it."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, by its number in the contract (`I7`: the files are whole), and how."""

    promise: str
    what: str

    def __str__(self) -> str:
        return f"{self.promise} broken: {self.what}"


def check(evidence: Evidence) -> list[Violation]:
    """Every promise that was broken; an empty list is a pass."""
    return [violation for rule in RULES for violation in rule(evidence)]


# Jobs that come


def _enqueues(evidence: Evidence) -> Iterator[Event]:
    return (event for event in evidence.history if event.op == "enqueue")


def _pruned(evidence: Evidence) -> set[int]:
    """Jobs that were deleted after they were over, as housekeeping may do."""
    return {change.job for change in evidence.changes if change.became is None and change.was in FINAL}


def _came(evidence: Evidence) -> dict[int, str | None]:
    """Every job that ever was, with its key: those that stand, and those that were seen."""
    seen = {change.job: change.key for change in evidence.changes}
    return seen | {row.job: row.key for row in evidence.rows}


def _nothing_is_lost(evidence: Evidence) -> Iterator[Violation]:
    """A job that was acknowledged is there, under its number and its key, unless it was pruned."""
    kept = {(row.job, row.key) for row in evidence.rows}
    pruned = _pruned(evidence)
    for event in _enqueues(evidence):
        if event.what == "ok" and (event.job, event.key) not in kept and event.job not in pruned:
            yield Violation("G1", f"job {event.job} ({event.key}) was acknowledged and is gone")


def _nothing_is_invented(evidence: Evidence) -> Iterator[Violation]:
    """Every job that ever was has been asked for, and its transaction was not rolled back for certain."""
    asked, answers = set(), defaultdict(set)
    for event in _enqueues(evidence):
        (asked.add(event.key) if event.what == "invoke" else answers[event.key].add(event.what))
    for job, key in _came(evidence).items():
        if key not in asked:
            yield Violation("G2", f"job {job} ({key}) was never asked for")
        elif answers[key] == {"failed"}:
            yield Violation("G2", f"job {job} ({key}) exists although its transaction was rolled back")


def _a_transaction_is_whole(evidence: Evidence) -> Iterator[Violation]:
    """Of the jobs that a group asked for and that nobody can have had before, all came or none."""
    groups, had = defaultdict[str, set[str]](set), set[str]()
    for event in _enqueues(evidence):
        if event.what in ("ok", "unknown"):
            had.add(event.key)
        elif event.group and event.key not in had:
            groups[event.group].add(event.key)
    came = set(_came(evidence).values())
    for group, keys in groups.items():
        if 0 < len(keys & came) < len(keys):
            yield Violation("G2", f"of the transaction {group!r} only {sorted(keys & came)} of {sorted(keys)} are there")


def _a_key_stands_for_one_job(evidence: Evidence) -> Iterator[Violation]:
    """All answers for a key name one job, and no other job stands under it, until that one is pruned."""
    ids, pruned = defaultdict(set), _pruned(evidence)
    named = [(event.key, event.job) for event in _enqueues(evidence) if event.what == "ok"]
    for key, job in (*named, *((row.key, row.job) for row in evidence.rows if row.key)):
        if job not in pruned:
            ids[key].add(job)
    for key, found in ids.items():
        if len(found) > 1:
            yield Violation("G3", f"key {key} stands for jobs {sorted(found)}")


# Leases and lanes


def _by_job(changes: Iterable[Change]) -> dict[int, list[Change]]:
    by_job = defaultdict(list)
    for change in changes:
        by_job[change.job].append(change)
    return by_job


def _runs(evidence: Evidence, *what: str) -> list[Event]:
    """What handlers wrote down: all of it, or the lines that say one of these."""
    return [event for event in evidence.history if event.op == "run" and (not what or event.what in what)]


def _one_lease_at_a_time(evidence: Evidence) -> Iterator[Violation]:
    """A job is claimed when it does not run, and under a lease one higher than the last."""
    for job, changes in _by_job(evidence.changes).items():
        lease = 0
        for change in changes:
            if change.became != RUNNING:
                continue
            if change.was == RUNNING:
                yield Violation("G5", f"job {job} was claimed as lease {change.lease} ({change.tag}) while lease {lease} ran")
            elif change.lease != lease + 1:
                yield Violation("G5", f"job {job} was given lease {change.lease} ({change.tag}) after lease {lease}")
            lease = change.lease


def _every_run_was_granted(evidence: Evidence) -> Iterator[Violation]:
    """Whoever runs a job was given that lease under that tag, and the database remembers it."""
    runs = {(event.job, event.lease, event.tag) for event in _runs(evidence)}
    for job, lease, tag in sorted(runs - grants(evidence)):
        yield Violation("G5", f"job {job} ran under lease {lease} ({tag}), which was never granted")


def grants(evidence: Evidence) -> set[tuple[int, int, str]]:
    """Every job, lease and tag that was claimed; with an empty tag, too, for those who do not say theirs."""
    claims = [change for change in evidence.changes if change.became == RUNNING]
    return {(claim.job, claim.lease, tag) for claim in claims for tag in (str(claim.tag), "")}


def _nobody_lives_on(evidence: Evidence) -> Iterator[Violation]:
    """No sign of life of an attempt after the first one of a later attempt of the same job."""
    newest: dict[int, Event] = {}
    for event in _runs(evidence):
        former = newest.get(event.job)
        if former is None or event.lease > former.lease:
            newest[event.job] = event
        elif event.lease < former.lease:
            late = event.at - former.at
            zombie = f"lease {event.lease} ({event.actor}) was {event.what} {late:.3f} s after lease {former.lease} had started"
            yield Violation("G8", f"job {event.job}: {zombie}")


def _lanes(evidence: Evidence) -> dict[int, str]:
    """The lane of each job that must have one: by its type and program, whatever the queue put down."""
    templates = {change.job: (evidence.lanes.get(change.job_type), change.program) for change in evidence.changes}
    return {job: template.format(program_id=program) for job, (template, program) in templates.items() if template}


def _claims_never_overlap_in_a_lane(evidence: Evidence) -> Iterator[Violation]:
    """No job of a lane is claimed before the one that runs in it has been ended."""
    lanes, holders = _lanes(evidence), dict[str, int]()
    for change in evidence.changes:
        lane = lanes.get(change.job)
        if lane is None:
            continue
        if change.became == RUNNING:
            if lane in holders:
                yield Violation("G5", f"lane {lane}: job {change.job} was claimed while job {holders[lane]} ran")
            holders[lane] = change.job
        elif holders.get(lane) == change.job:
            del holders[lane]


def _runs_never_overlap_in_a_lane(evidence: Evidence) -> Iterator[Violation]:
    """Handlers of a lane live one after the other."""
    lanes, current = _lanes(evidence), dict[str, Run]()
    for event in _runs(evidence):
        lane = lanes.get(event.job)
        if lane is None:
            continue
        run = event.job, event.lease
        if event.what == "started":
            current[lane] = run
        elif current.get(lane) != run:
            yield Violation("G5", f"lane {lane}: run {run} was {event.what} after {current.get(lane)} had started")


# How jobs end


class Wish(NamedTuple):
    """An operator's call that may have had its effect at any moment between these, in seconds of `boot_time()`."""

    since: float
    until: float


def _wishes(evidence: Evidence, op: str) -> dict[int, list[Wish]]:
    """The calls about each job that were not certainly in vain; one whose answer nobody has may yet have its effect."""
    invoked, wishes = defaultdict[tuple[str, int], list[float]](list), defaultdict[int, list[Wish]](list)
    for event in evidence.history:
        if event.op != op:
            continue
        own = invoked[event.actor, event.job]
        if event.what == "invoke":
            own.append(event.at)
        elif event.what == "failed":
            own.pop()
        elif event.what == "ok":
            wishes[event.job].append(Wish(own.pop(), event.at))
    for (_, job), unanswered in invoked.items():
        wishes[job] += [Wish(since, inf) for since in unanswered]
    return wishes


def _lives(changes: Iterable[Change]) -> Iterator[list[Change]]:
    """What became of a job from its beginning, or from when it left a final state, until it was over."""
    life: list[Change] = []
    for change in changes:
        if change.was in FINAL:
            yield life
            life = []
        life.append(change)
    yield life


def _moves_are_legal(evidence: Evidence) -> Iterator[Violation]:
    """A job's status changes only as is promised."""
    for change in evidence.changes:
        if (change.was, change.became) not in MOVES:
            yield Violation("G7", f"job {change.job} went from {change.was or 'nothing'} to {change.became or 'nothing'}")


def _final_states_stay(evidence: Evidence) -> Iterator[Violation]:
    """A final state is left only while an operator's retry is at work, once for each, or with the row that is pruned."""
    retries = _wishes(evidence, "retry")
    for job, changes in _by_job(evidence.changes).items():
        for change in changes:
            if change.was not in FINAL or change.became in (change.was, None):
                continue
            at = change.at - evidence.booted
            fitting = [wish for wish in retries[job] if wish.since - READ_APART <= at <= wish.until + READ_APART]
            if fitting:
                retries[job].remove(min(fitting, key=lambda wish: wish.until))
            else:
                yield Violation("G7", f"job {job} left {change.was} for {change.became}, and no operator's retry was at work")


def _times(evidence: Evidence, status: str) -> Iterator[tuple[list[Change], Change]]:
    """Each change by which a job became that, with the life of the job that it stands in."""
    for changes in _by_job(evidence.changes).values():
        for life in _lives(changes):
            yield from ((life, change) for change in life if change.became == status)


def _nobody_is_cancelled_unasked(evidence: Evidence) -> Iterator[Violation]:
    """Who is cancelled was so by an operator in this life of the job, or by the handler that ran last."""
    cancels = _wishes(evidence, "cancel")
    said = {(event.job, event.lease) for event in _runs(evidence, "raised") if event.verdict in ("", "cancelled")}
    for life, change in _times(evidence, CANCELLED):
        began, ended = life[0].at - evidence.booted - READ_APART, change.at - evidence.booted + READ_APART
        asked = any(wish.since <= ended and wish.until >= began for wish in cancels[change.job])
        if not asked and not (change.was == RUNNING and (change.job, change.lease) in said):
            yield Violation("G1", f"job {change.job} was cancelled as lease {change.lease}, and nobody had asked for that")


def _outcomes(evidence: Evidence) -> dict[Run, str]:
    return {(attempt.job, attempt.lease): attempt.outcome for attempt in evidence.attempts}


def _ended_as(outcomes: dict[Run, str], life: list[Change]) -> Counter[str | None]:
    """How often each outcome is kept of the leases of a life."""
    return Counter(outcomes.get((change.job, change.lease)) for change in life if change.became == RUNNING)


def _attempts_allowed(evidence: Evidence) -> dict[int, int]:
    """How many attempts that count each job may have that still stands; of others nobody keeps any."""
    return {row.job: row.max_retries + 1 for row in evidence.rows}


def _nobody_fails_early(evidence: Evidence) -> Iterator[Violation]:
    """A job fails when its handler gives up, when all its attempts are spent, or when it was interrupted too often."""
    outcomes, allowed = _outcomes(evidence), _attempts_allowed(evidence)
    for life, change in _times(evidence, FAILED):
        if change.job not in allowed or outcomes.get((change.job, change.lease)) == "gave_up":
            continue
        counts, most = _ended_as(outcomes, life), allowed[change.job]
        spent = sum(counts[outcome] for outcome in SPEND_A_RETRY)
        if spent < most and counts["interrupted"] <= MOST_INTERRUPTIONS:
            yield Violation("G1", f"job {change.job} failed as lease {change.lease}, with {spent} of {most} attempts spent")


def _nobody_runs_beyond_his_retries(evidence: Evidence) -> Iterator[Violation]:
    """No life of a job holds more attempts that count than it was allowed."""
    outcomes, allowed = _outcomes(evidence), _attempts_allowed(evidence)
    for job, changes in _by_job(evidence.changes).items():
        for life in _lives(changes):
            spent = sum(_ended_as(outcomes, life)[outcome] for outcome in SPEND_A_RETRY)
            if spent > allowed.get(job, spent):
                yield Violation("G4", f"job {job} has {spent} attempts that count, and was allowed {allowed[job]}")


def _success_was_earned(evidence: Evidence) -> Iterator[Violation]:
    """What is completed has a handler that returned under that lease."""
    returned = {(event.job, event.lease) for event in _runs(evidence, "returned")}
    for change in evidence.changes:
        if change.became == COMPLETED and (change.job, change.lease) not in returned:
            yield Violation("G6", f"job {change.job} is completed under lease {change.lease}, whose handler never returned")


def _everything_is_over(evidence: Evidence) -> Iterator[Violation]:
    """Nothing is left when there was time for all."""
    if not evidence.drained:
        return
    for row in evidence.rows:
        if row.status not in FINAL:
            yield Violation("G1", f"job {row.job} ({row.key}) is still {row.status} after everything was given time to end")


# Attempts, and what they leave


def _superseded_attempts_write_no_rows(evidence: Evidence) -> Iterator[Violation]:
    """A handler's row stands among the changes of its job where its own lease runs, under its own tag."""
    by_job = _by_job(evidence.changes)
    for effect in evidence.effects:
        before = by_job[effect.job][: effect.after]
        holder = before[-1] if before and before[-1].became == RUNNING else None
        if holder is None or holder.lease != effect.lease or effect.tag not in (None, holder.tag):
            yield Violation("G6", f"job {effect.job}: lease {effect.lease} ({effect.tag}) wrote rows after {before[-1:]}")


def _superseded_attempts_say_nothing(evidence: Evidence) -> Iterator[Violation]:
    """Leases are renewed, progress and checkpoints written, only of running jobs; what is signed, by whoever runs them."""
    for write in evidence.writes:
        about = f"job {write.job}: a {write.what}"
        if write.status != RUNNING:
            yield Violation("G6", f"{about} was written while it was {write.status}")
        elif write.value and SIGNED in write.value and write.value.strip('"') != signature(write.lease, write.tag):
            yield Violation("G6", f"{about} {write.value} stands while lease {write.lease} of {write.tag} runs")


def _superseded_attempts_are_refused(evidence: Evidence) -> Iterator[Violation]:
    """Whoever writes in the name of an attempt that is over is told that it holds nothing."""
    for event in evidence.history:
        if event.op == "haunt" and event.what == "ok":
            whose = f"lease {event.lease} ({event.tag}), which was over"
            yield Violation("G6", f"job {event.job}: a {event.key} of {whose}, was accepted")


def _superseded_attempts_end_nothing(evidence: Evidence) -> Iterator[Violation]:
    """Nobody ends a lease in the name of another."""
    for job, changes in _by_job(evidence.changes).items():
        for former, change in pairwise(changes):
            if former.became == RUNNING and change.lease != former.lease:
                yield Violation("G6", f"job {job}: lease {former.lease} was ended as lease {change.lease}")


def _ends(evidence: Evidence) -> dict[Run, str | None]:
    """What the job became at the end of each lease."""
    return {(change.job, change.lease): change.became for change in evidence.changes if change.was == RUNNING}


def _every_end_says_why(evidence: Evidence) -> Iterator[Violation]:
    """A lease that ended without completing left one attempt with a reason, unless it was given back before anybody began."""
    kept = Counter((attempt.job, attempt.lease) for attempt in evidence.attempts)
    started = {(event.job, event.lease) for event in _runs(evidence, "started")}
    pruned = _pruned(evidence)  # with its attempts
    for (job, lease), became in _ends(evidence).items():
        if became == COMPLETED or job in pruned or kept[job, lease]:
            continue
        if (job, lease) in started:
            yield Violation("G4", f"job {job}: lease {lease} ran and went to {became}, and nothing says why")
        elif became == FAILED:
            yield Violation("G4", f"job {job}: lease {lease} never ran and failed, and nothing says why")
    for attempt in evidence.attempts:
        if not attempt.reason.strip():
            yield Violation("G4", f"job {attempt.job}: lease {attempt.lease} {attempt.outcome}, without a reason")
    for (job, lease), times in kept.items():
        if times > 1:
            yield Violation("G4", f"job {job}: lease {lease} was ended {times} times")


def _reasons_are_true(evidence: Evidence) -> Iterator[Violation]:
    """No attempt is kept of a lease that completed; that a handler failed, gave up or put off, it must have said itself."""
    ends, said = _ends(evidence), defaultdict[Run, set[str]](set)
    started = {(event.job, event.lease) for event in _runs(evidence, "started")}
    for event in _runs(evidence, "returned", "raised"):
        said[event.job, event.lease].add(event.verdict)
    for job, lease, outcome, _ in evidence.attempts:
        if ends.get((job, lease)) == COMPLETED:
            yield Violation("G4", f"job {job}: lease {lease} completed, and is kept as {outcome}")
        elif outcome in OF_THE_HANDLER and (job, lease) in started and not said[job, lease] & {"", outcome}:
            yield Violation("G4", f"job {job}: lease {lease} is kept as {outcome}, its handler said {sorted(said[job, lease])}")


def _the_files_are_whole(evidence: Evidence) -> Iterator[Violation]:
    """The database finds no damage in its own files."""
    for found in evidence.inspection.found:
        yield Violation("I7", f"{found} ({evidence.inspection.by})")


RULES = (
    _nothing_is_lost, _nothing_is_invented, _a_transaction_is_whole, _a_key_stands_for_one_job, _one_lease_at_a_time,
    _every_run_was_granted, _nobody_lives_on, _claims_never_overlap_in_a_lane, _runs_never_overlap_in_a_lane, _moves_are_legal,
    _final_states_stay, _nobody_is_cancelled_unasked, _nobody_fails_early, _nobody_runs_beyond_his_retries, _success_was_earned,
    _everything_is_over,
    _superseded_attempts_write_no_rows, _superseded_attempts_say_nothing, _superseded_attempts_are_refused,
    _superseded_attempts_end_nothing, _every_end_says_why, _reasons_are_true, _the_files_are_whole,
)
