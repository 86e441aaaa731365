"""The machine: rules that Hypothesis puts in any order, done to both databases; after each, answers and rows must agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy import Engine, delete, insert, text, update

from backends import FINAL, Death, Job, JobTypeFacts, Kind, LeaseLost, NewJob, Outcome, Queue, RetryPolicy, Status, indexing_jobs
from backends.dialects import one_writer
from backends.tables import count_deltas, counts, job_attempts, lanes
from tests.backends.scene import change, insert_raw, time_text

from .promises import Step, broken, holds
from .seen import PROGRAMS, Said, effects, look

TYPES = {"quick": JobTypeFacts(None), "once": JobTypeFacts(None, max_retries=0), "laned": JobTypeFacts("program:{program_id}"),
         "also_laned": JobTypeFacts("program:{program_id}")}
LOCK_TIMEOUT = 600.0
"""Longer than any example takes: a lease expires here only when a rule says so."""

Attempt = tuple[Job, str]
job = indexing_jobs.c
worker = st.integers(0, 2)
program = st.sampled_from(PROGRAMS)
kinds = st.sampled_from([*Kind, *[Kind.COMPLETED] * 4])
place = st.integers(0, 30)


class Machine(RuleBasedStateMachine):
    """Both queues, three workers, and what everybody believes; `search` sets `engines`."""

    engines: ClassVar[Sequence[Engine]]
    examples: ClassVar[int] = 0
    done: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        Machine.examples += 1
        for engine in self.engines:
            _clear(engine)
        policies = {name: RetryPolicy(backoff="none") for name in TYPES}
        self.queues = [Queue(engine, policies) for engine in self.engines]
        self.held: list[list[Attempt]] = [[], [], []]
        self.paused: set[int] = set()
        self.dead: list[tuple[list[Attempt], Kind]] = []
        self.aged: set[tuple[int, int]] = set()
        self.turn = 0
        self.seen = look(self.queues[0])

    # How a step is done and judged

    def do(self, step: Step, verb: Callable[[Queue], Any]) -> Any:
        """Do it to both; they must answer and look alike, and keep what is promised. Returns the answer."""
        Machine.done += 1
        answers = [verb(queue) for queue in self.queues]
        assert answers[0] == answers[-1], f"SQLite answered {answers[0]}, Postgres {answers[-1]}"
        here, *others = (look(queue) for queue in self.queues)
        for there in others:
            assert here.rows == there.rows
            assert here.attempts == there.attempts
        wrong = broken(self.seen, step, here)
        assert not wrong, "\n".join(wrong)
        self.seen = here
        return answers[0]

    def _ends(self, attempts: Sequence[Attempt], outcomes: Sequence[Kind]) -> Step:
        """A step that may end these attempts, those that still hold their job."""
        named = {(each.id, each.lease, tag): kind for (each, tag), kind in zip(attempts, outcomes, strict=True)}
        return Step(("settle", "release", "reclaim"), named)

    def _some_job(self, place: int) -> int:
        ids = sorted(self.seen.rows)
        return ids[place % len(ids)] if ids else 0

    def _new_tag(self, worker: int) -> str:
        self.turn += 1
        return f"worker-{worker}:{self.turn}"

    # Those who add jobs

    @initialize()
    def make_known(self) -> None:
        """A supervisor has started."""
        for queue in self.queues:
            queue.register(TYPES, "machine")

    @rule(job_type=st.sampled_from(list(TYPES)), program=program, priority=st.integers(0, 2), number=st.integers(1, 3),
          key=st.sampled_from([None, None, "one", "two"]), late=st.booleans())
    def enqueue(self, job_type: str, program: int, priority: int, number: int, key: str | None, late: bool) -> None:
        """Several at once; those with a key are one job, and stay that."""
        at = datetime.now(UTC) + timedelta(hours=1) if late and not key else None
        new = NewJob(job_type, program, priority=priority, unique_key=key, scheduled_at=at)
        ids = self.do(Step(("add",)), lambda queue: queue.enqueue([new] * number))
        assert len(set(ids)) == (1 if key else number)
        assert set(ids) <= self.seen.rows.keys()

    @rule(job_type=st.sampled_from([*TYPES, "unknown"]), program=program, status=st.sampled_from([None, None, "running"]))
    def insert(self, job_type: str, program: int, status: str | None) -> None:
        """As any other program would, a thoughtless one too."""
        now = datetime.now(UTC)
        given = {"status": status, "locked_by": "nobody:1", "locked_at": now, "started_at": now} if status else {}
        self.do(Step(("add",)), lambda queue: insert_raw(queue.engine, job_type=job_type, program_id=program, **given))

    @precondition(lambda self: self.seen.rows)
    @rule(place=place)
    def become_due(self, place: int) -> None:
        """Time passes for one job."""
        moment = datetime.now(UTC) - timedelta(seconds=1)
        self.do(Step(), lambda queue: change(queue.engine, self._some_job(place), scheduled_at=moment))

    # Workers

    @rule(worker=worker, limit=st.integers(1, 4), types=st.sampled_from([tuple(TYPES), ("quick", "laned")]))
    def claim(self, worker: int, limit: int, types: Sequence[str]) -> None:
        """Take what is next."""
        if worker in self.paused:
            return
        tag = self._new_tag(worker)
        claimed: list[Job] = []

        def take(queue: Queue) -> list[tuple[int, int]]:
            claimed[:] = queue.claim(tag, types, limit)
            return [(each.id, each.lease) for each in claimed]

        self.do(Step(("claim",)), take)
        assert len(claimed) <= limit
        self.held[worker] += [(each, tag) for each in claimed]

    def _awake(self) -> list[int]:
        return [each for each in range(3) if self.held[each] and each not in self.paused]

    @precondition(lambda self: self._awake())
    @rule(place=place, outcomes=st.lists(kinds, min_size=12, max_size=12))
    def settle(self, place: int, outcomes: list[Kind]) -> None:
        """Say how the attempts of one claim ended, whether their leases hold or not: what is lost is told, and not written."""
        self._settle_first_claim(self._awake()[place % len(self._awake())], outcomes)

    def _settle_first_claim(self, worker: int, outcomes: list[Kind]) -> None:
        mine = self._take_first_claim(worker)
        outcomes = outcomes[: len(mine)]
        lost = [each.id for each, tag in mine if not holds(self.seen.rows.get(each.id), each.lease, tag)]
        finished = [(each, Outcome(kind, "by chance", after=3600.0)) for (each, _), kind in zip(mine, outcomes, strict=True)]
        answer = self.do(
            self._ends(mine, outcomes), lambda queue: sorted(each.id for each in queue.settle(mine[0][1], finished))
        )
        assert answer == sorted(lost)

    @precondition(lambda self: self._awake())
    @rule(place=place, limit=st.integers(1, 3))
    def cycle(self, place: int, limit: int) -> None:
        """Settle successes and claim what is next, in one go."""
        worker = self._awake()[place % len(self._awake())]
        mine, tag, claimed = self._take_first_claim(worker), self._new_tag(worker), []
        named = {(each.id, each.lease, its): Kind.COMPLETED for each, its in mine}

        def both(queue: Queue) -> Any:
            done = [(each, Outcome(Kind.COMPLETED)) for each, _ in mine]
            lost, claimed[:], _ = queue.settle_and_claim(mine[0][1], done, tag, tuple(TYPES), limit)
            return sorted(each.id for each in lost), [(each.id, each.lease) for each in claimed]

        lost = [each.id for each, its in mine if not holds(self.seen.rows.get(each.id), each.lease, its)]
        assert self.do(Step(("settle", "claim"), named), both)[0] == sorted(lost)
        self.held[worker] += [(each, tag) for each in claimed]

    def _take_first_claim(self, worker: int) -> list[Attempt]:
        tag = self.held[worker][0][1]
        mine = [attempt for attempt in self.held[worker] if attempt[1] == tag]
        self.held[worker] = [attempt for attempt in self.held[worker] if attempt[1] != tag]
        return mine

    @precondition(lambda self: self._awake())
    @rule(place=place, processed=st.integers(1, 9))
    def report(self, place: int, processed: int) -> None:
        """Say how far it is."""
        self._report(self._awake()[place % len(self._awake())], place, processed)

    def _report(self, worker: int, place: int, processed: int) -> None:
        self._say(
            worker, place, lambda said: said._replace(processed=processed),
            lambda queue, tag, mine: queue.progress(tag, mine, {"processed_files": processed}),
        )

    @precondition(lambda self: self._awake())
    @rule(place=place, processed=st.integers(1, 9))
    def checkpoint(self, place: int, processed: int) -> None:
        """Keep something for the next attempt."""
        self._checkpoint(self._awake()[place % len(self._awake())], place, str(processed))

    def _checkpoint(self, worker: int, place: int, kept: str) -> None:
        self._say(
            worker, place, lambda said: said._replace(checkpoint=kept), lambda queue, tag, mine: queue.checkpoint(tag, mine, kept)
        )

    def _say(
        self, worker: int, place: int, change: Callable[[Said], Said], say: Callable[[Queue, str, Job], None]
    ) -> None:
        mine, tag = self.held[worker][place % len(self.held[worker])]
        said = {mine.id: change(self.seen.rows[mine.id].said)} if mine.id in self.seen.rows else {}
        self._act(mine, tag, Step(said=said), lambda queue: say(queue, tag, mine))

    @precondition(lambda self: self._awake())
    @rule(place=place)
    def write(self, place: int) -> None:
        """A handler writes a row of its own in a fenced transaction."""
        self._write(self._awake()[place % len(self._awake())], place)

    def _write(self, worker: int, place: int) -> None:
        mine, tag = self.held[worker][place % len(self.held[worker])]
        row = {"job_id": mine.id, "lease": mine.lease, "tag": tag}

        def insert_row(queue: Queue) -> None:
            with queue.transaction(tag, mine) as connection:
                connection.execute(insert(effects), row)

        self._act(mine, tag, Step(wrote=((mine.id, mine.lease, tag),)), insert_row)

    def _act(self, mine: Job, tag: str, step: Step, act: Callable[[Queue], None]) -> None:
        """What an attempt may do only while it holds its job: else it is told so, and nothing is done."""
        holding = holds(self.seen.rows.get(mine.id), mine.lease, tag)
        assert self.do(step if holding else Step(), lambda queue: _is_done(queue, act)) is holding

    @rule(worker=worker)
    def pause(self, worker: int) -> None:
        """Stopped in mid-work: it knows nothing of what happens, and goes on as if nothing had."""
        self.paused.add(worker)

    @rule(worker=worker)
    def resume(self, worker: int) -> None:
        """Goes on."""
        self.paused.discard(worker)

    @rule(worker=worker, kind=st.sampled_from([Kind.CRASHED, Kind.TIMED_OUT, Kind.INTERRUPTED, Kind.CANCELLED]))
    def crash(self, worker: int, kind: Kind) -> None:
        """Gone with all it held; whoever saw it will say so, later or never."""
        if self.held[worker]:
            self.dead.append((self.held[worker], kind))
        self.held[worker] = []
        self.paused.discard(worker)

    # Supervision

    @precondition(lambda self: self.dead)
    @rule(place=place)
    def reclaim(self, place: int) -> None:
        """A death is told: the first job is charged, its neighbours go unspent."""
        attempts, kind = self.dead.pop(place % len(self.dead))
        victim = attempts[0][0]
        death = Death(tuple({tag for _, tag in attempts}), victim.id, victim.lease, kind, "died")
        step = self._ends(attempts, [kind, *[Kind.RELEASED] * (len(attempts) - 1)])
        self.do(step, lambda queue: sorted((each.job_id, each.status) for each in queue.reclaim(death)))

    @precondition(lambda self: any(self.held))
    @rule(worker=worker, interrupted=st.booleans())
    def release(self, worker: int, interrupted: bool) -> None:
        """Everything of a worker is given back, by who stops it."""
        kind = Kind.INTERRUPTED if interrupted else Kind.RELEASED
        step = self._ends(self.held[worker], [kind] * len(self.held[worker]))
        tags = sorted({tag for _, tag in self.held[worker]})
        self.do(step, lambda queue: queue.release(tags, "drained", interrupted))

    @precondition(lambda self: any(self.held))
    @rule(worker=worker)
    def heartbeat(self, worker: int) -> None:
        """Renew: exactly what is still held is renewed."""
        tags = sorted({tag for _, tag in self.held[worker]})
        renewed = self.do(Step(), lambda queue: sorted((each.job_id, each.lease) for each in queue.heartbeat(tags)))
        assert renewed == sorted(row.attempt for row in self.seen.rows.values() if row.locked_by in tags)
        self.aged -= set(renewed)

    @precondition(lambda self: any(self.held))
    @rule(worker=worker)
    def let_leases_run_out(self, worker: int) -> None:
        """Nobody has renewed for a long time."""
        tags = {tag for _, tag in self.held[worker]}
        self.do(Step(), lambda queue: _age(queue.engine, tags))
        self.aged |= {row.attempt for row in self.seen.rows.values() if row.locked_by in tags}

    @precondition(lambda self: self._awake())
    @rule(place=place, outcomes=st.lists(kinds, min_size=12, max_size=12))
    def be_superseded(self, place: int, outcomes: list[Kind]) -> None:
        """The commonest accident: the leases of one run out, another takes its jobs, and then the first goes on and settles."""
        worker = self._awake()[place % len(self._awake())]
        rival = (worker + 1) % 3
        self.paused.discard(rival)
        self.let_leases_run_out(worker)
        self.reclaim_expired()
        self.claim(rival, 4, tuple(TYPES))
        self._report(worker, place, 7)
        self._checkpoint(worker, place, "8")
        self._write(worker, place)
        self._settle_first_claim(worker, outcomes)

    @precondition(lambda self: any(self.held))
    @rule(hours=st.sampled_from([-1, 1]))
    def step_the_clock(self, hours: int) -> None:
        """The host's clock jumps: leases on SQLite do not care.

        Postgres goes by its server's clock alone, and no value of ours is compared with it: there is no clock of a client to
        step here. The server's own clock is stepped by a shim in a server of its own, in `tests/faults/test_clock_faults.py`.
        """
        self.do(Step(), lambda queue: _step(queue.engine, hours))

    @precondition(lambda self: self.seen.rows)
    @rule()
    def reclaim_expired(self) -> None:
        """Exactly what ran out is taken back."""
        self.do(self._expiry(PROGRAMS), lambda queue: _of(queue.reclaim_expired(LOCK_TIMEOUT)))

    @rule(program=program)
    def reset_stuck(self, program: int) -> None:
        """The same by an operator, for one program."""
        self.do(self._expiry([program]), lambda queue: _of(queue.reset_stuck(program, LOCK_TIMEOUT)))

    def _expiry(self, programs: Sequence[int]) -> Step:
        rows = [row for row in self.seen.rows.values() if row.attempt in self.aged and row.program_id in programs]
        return Step(("reclaim",), {(row.id, row.lease, row.locked_by or ""): Kind.INTERRUPTED for row in rows})

    # Operators and housekeeping

    @precondition(lambda self: self.seen.rows)
    @rule(place=place)
    def cancel(self, place: int) -> None:
        """Cancel any job."""
        self.do(Step(("cancel",)), lambda queue: queue.cancel(self._some_job(place)))

    @precondition(lambda self: self.seen.rows)
    @rule(place=place)
    def retry(self, place: int) -> None:
        """Retry any job."""
        self.do(Step(("retry",)), lambda queue: queue.retry(self._some_job(place)))

    @rule(limit=st.integers(1, 10))
    def admit(self, limit: int) -> None:
        """Examine what is new or due."""
        self.do(Step(), lambda queue: queue.admit(limit))

    @rule()
    def fold(self) -> None:
        """Fold counters: nobody sees a difference."""
        self.do(Step(), lambda queue: queue.fold_counts() >= 0)

    @rule(batch=st.integers(1, 10))
    def prune(self, batch: int) -> None:
        """Delete finished jobs."""
        self.do(Step(("prune",)), lambda queue: queue.prune(dict.fromkeys(FINAL, -10.0), batch))


def _is_done(queue: Queue, act: Callable[[Queue], None]) -> bool:
    """Whether it did not lose its lease."""
    try:
        act(queue)
    except LeaseLost:
        return False
    return True


def _of(settled: Sequence[Any]) -> list[tuple[int, Status]]:
    return sorted((each.job_id, each.status) for each in settled)


def _age(engine: Engine, tags: set[str]) -> None:
    long_ago = {"locked_at": text(time_text(engine, 2 * LOCK_TIMEOUT))}
    if one_writer(engine):
        long_ago["locked_boot_seconds"] = job.locked_boot_seconds - 2 * LOCK_TIMEOUT
    with engine.begin() as connection:
        connection.execute(update(indexing_jobs).where(job.locked_by.in_(tags)).values(long_ago))


def _step(engine: Engine, hours: int) -> None:
    if one_writer(engine):
        with engine.begin() as connection:
            moment = {"locked_at": text(time_text(engine, 3600 * hours))}
            connection.execute(update(indexing_jobs).where(job.status == "running").values(moment))


def _clear(engine: Engine) -> None:
    """Nothing is left, and ids begin at 1 again."""
    with engine.begin() as connection:
        effects.create(connection, checkfirst=True)
        for each in (indexing_jobs, job_attempts, lanes, count_deltas, counts, effects):
            connection.execute(delete(each))
        if one_writer(engine):
            connection.exec_driver_sql("DELETE FROM sqlite_sequence")
        else:
            connection.exec_driver_sql("ALTER SEQUENCE indexing_jobs_id_seq RESTART")


def search(engines: Sequence[Engine], examples: int, steps: int, number: int | None = None, *, shrink: bool = True) -> None:
    """Try so many examples of so many steps; the same ones each time unless seeded. Raises what went wrong, at its shortest."""
    machine = type("Machine", (Machine,), {"engines": engines})
    if number is not None:
        machine = seed(number)(machine)  # type: ignore[assignment]
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    run_state_machine_as_test(machine, settings=settings(
        max_examples=examples, stateful_step_count=steps, derandomize=number is None, deadline=None, database=None, phases=phases,
        suppress_health_check=list(HealthCheck),
    ))
