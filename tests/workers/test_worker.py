"""The worker: real processes, real handlers, both databases."""

from __future__ import annotations

import signal
import socket
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from backends import (
    ATTEMPTS,
    Death,
    JobTypeFacts,
    JobView,
    Kind,
    NewJob,
    Outcome,
    Queue,
    Status,
    Sum,
    open_engine,
    upgrade,
)
from tests.postgres import PrivatePostgres, wait_for
from tests.support import eventually
from tests.workers.running import RunningWorker, Start
from workers import Cause, Order, Phase, Wish
from workers.slot import Cancel as CancelRequest


def _add(queue: Queue, job_type: str, number: int = 1, **parameters: Any) -> list[int]:
    return queue.enqueue([NewJob(job_type, 1, parameters=parameters) for _ in range(number)])


def _view(queue: Queue, job_id: int) -> JobView:
    view = queue.get(job_id)
    assert view is not None
    return view


def _status(queue: Queue, job_id: int) -> Status:
    return Status(_view(queue, job_id).status)


def _ended(queue: Queue, job_id: int, *statuses: Status, within: float = 10) -> JobView:
    wanted = statuses or (Status.COMPLETED, Status.FAILED, Status.CANCELLED)
    eventually(lambda: _status(queue, job_id) in wanted, within)
    return _view(queue, job_id)


def _runs(queue: Queue, job_id: int) -> None:
    eventually(lambda: _status(queue, job_id) is Status.RUNNING)


def _notes(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT name FROM jobqueue_programs ORDER BY id")).scalars())


def test_jobs_are_completed_and_the_slot_is_empty_afterwards(queue: Queue, start: Start) -> None:
    ids = _add(queue, "quick", 50)
    worker = start("quick")
    for job_id in ids:
        _ended(queue, job_id, Status.COMPLETED)
    eventually(lambda: worker.slot.activity.phase == Phase.IDLE)
    eventually(lambda: worker.slot.claims == [] or worker.slot.activity.job_id == 0)
    assert queue.held(worker.tags()) == set()


def test_a_wake_up_is_obeyed_at_once(queue: Queue, start: Start) -> None:
    worker = start("quick", poll_interval=60)
    eventually(lambda: worker.slot.activity.phase == Phase.IDLE)
    (job_id,) = _add(queue, "quick")
    worker.wake()
    _ended(queue, job_id, Status.COMPLETED, within=3)


def test_a_raw_insert_is_found_without_anybodys_help(queue: Queue, engine: Engine, start: Start) -> None:
    start("quick")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO indexing_jobs (program_id, job_type) VALUES (1, 'quick')"))
    eventually(lambda: queue.counts().completed == 1)


def test_a_failing_job_is_retried_to_its_limit_with_its_reason_kept(queue: Queue, start: Start) -> None:
    (job_id,) = _add(queue, "fails")
    start("fails")
    view = _ended(queue, job_id, Status.FAILED)
    assert (view.retry_count, view.error_message) == (3, "ValueError: no such folder")
    attempts = queue.attempts(job_id)
    assert [each.outcome for each in attempts] == ["failed"] * 4
    assert all('raise ValueError("no such folder")' in each.detail for each in attempts)


@pytest.mark.parametrize(
    ("what", "status", "outcome", "reason"),
    [
        ("later", Status.PENDING, "snoozed", "rate limited"),
        ("cancel", Status.CANCELLED, "cancelled", "cancelled by its handler"),
        ("give up", Status.FAILED, "gave_up", "folder is gone"),
        ("exit", Status.FAILED, "failed", "SystemExit: 3"),
        ("interrupt", Status.FAILED, "failed", "KeyboardInterrupt"),
        ("unspeakable", Status.FAILED, "failed", "Unspeakable: (its message could not be had: RuntimeError)"),
        ("surrogate", Status.FAILED, "failed", "ValueError: ? \ufffd"),
    ],
)
def test_whatever_a_handler_raises_becomes_an_outcome_and_the_worker_goes_on(
    queue: Queue, start: Start, what: str, status: Status, outcome: str, reason: str
) -> None:
    (job_id,) = queue.enqueue([NewJob("raises", 1, max_retries=0, parameters={"what": what})])
    start("raises", "quick")
    eventually(lambda: queue.attempts(job_id))
    (attempt,) = queue.attempts(job_id)
    assert (_status(queue, job_id), attempt.outcome, attempt.reason) == (status, outcome, reason)
    _ended(queue, _add(queue, "quick")[0], Status.COMPLETED)


def test_a_snoozed_job_is_due_when_it_said_and_has_spent_nothing(queue: Queue, start: Start) -> None:
    (job_id,) = _add(queue, "raises", what="later")
    start("raises")
    eventually(lambda: queue.attempts(job_id))
    assert _view(queue, job_id).retry_count == 0
    assert 3500 < (queue.next_due() or 0) <= 3600


def test_a_checkpoint_survives_the_attempt(queue: Queue, start: Start) -> None:
    (job_id,) = _add(queue, "counts_attempts")
    start("counts_attempts")
    assert _ended(queue, job_id, Status.COMPLETED).retry_count == 2
    assert [each.reason for each in queue.attempts(job_id)] == ["ValueError: attempt 1", "ValueError: attempt 2"]


def test_the_last_progress_is_written_and_few_before_it(queue: Queue, start: Start) -> None:
    (job_id,) = _add(queue, "reports")
    start("reports")
    view = _ended(queue, job_id, Status.COMPLETED)
    assert (view.processed_files, view.total_files, view.successful_files) == (1000, 1000, 1000)
    assert view.progress_message == "file 1000 ?\ufffd"


def test_progress_that_fits_no_column_is_brought_into_shape(queue: Queue, start: Start) -> None:
    (job_id,) = _add(queue, "misreports")
    start("misreports")
    view = _ended(queue, job_id, Status.COMPLETED)
    assert (view.processed_files, view.total_files, len(view.progress_message or "")) == (2**31 - 1, 0, 2000)


def test_only_types_with_a_handler_are_claimed(queue: Queue, start: Start) -> None:
    (theirs,), (mine,) = _add(queue, "nobodys"), _add(queue, "quick")
    start("quick")
    _ended(queue, mine, Status.COMPLETED)
    assert _status(queue, theirs) is Status.PENDING


def test_a_job_that_another_program_made_ready_beside_the_one_that_has_its_lane_ends_no_worker(
    queue: Queue, engine: Engine, start: Start
) -> None:
    queue.register({"quick": JobTypeFacts("one")}, "test")
    first, second = _add(queue, "quick", 2)
    (mine,) = queue.claim("other:1", ("quick",), 1)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE indexing_jobs SET waits_for = NULL, ready_at = created_at WHERE id = {second}"))
    worker = start("quick")
    eventually(lambda: worker.events("lane.overlap"))
    assert [each["jobs"] for each in worker.events("lane.overlap")] == [[second]]
    queue.settle("other:1", [(mine, Outcome(Kind.COMPLETED))])
    _ended(queue, second, Status.COMPLETED)
    assert _status(queue, first) is Status.COMPLETED


def _grow(queue: Queue, worker: RunningWorker) -> None:
    """Let the worker learn that its jobs are short, so that it claims many at once."""
    ids = _add(queue, "quick", 300)
    worker.wake()
    for job_id in ids[-1:]:
        _ended(queue, job_id, Status.COMPLETED)


def test_neighbours_of_a_slow_job_are_handed_back_soon_and_unspent(queue: Queue, start: Start, tmp_path: Path) -> None:
    worker = start("quick", "until_file")
    _grow(queue, worker)
    worker.order(Order.QUIET)
    eventually(lambda: worker.slot.activity.phase == Phase.IDLE)
    until = tmp_path / "until"
    before, (slow,), after = _add(queue, "quick", 3), _add(queue, "until_file", until=str(until)), _add(queue, "quick", 3)
    worker.order(Order.WORK)
    _runs(queue, slow)
    eventually(lambda: [_status(queue, job_id) for job_id in after] == [Status.PENDING] * 3, within=2)
    assert {_status(queue, job_id) for job_id in before} == {Status.COMPLETED}
    taken = queue.claim("other:1", ("quick",), 9)
    assert [(each.id, each.retry_count, each.interruptions) for each in taken] == [(job_id, 0, 0) for job_id in after]
    until.touch()
    _ended(queue, slow, Status.COMPLETED)


def test_sigterm_lets_the_running_job_finish(queue: Queue, start: Start, tmp_path: Path) -> None:
    (job_id,), (left,) = _add(queue, "until_file", until=str(tmp_path / "until")), _add(queue, "quick")
    worker = start("until_file", "quick")
    eventually(lambda: worker.slot.activity.phase == Phase.RUNNING)
    worker.signal(signal.SIGTERM)
    (tmp_path / "until").touch()
    assert worker.exit_code() == 0
    assert (_status(queue, job_id), _status(queue, left)) == (Status.COMPLETED, Status.PENDING)
    assert worker.slot.activity.phase == Phase.LEAVING


def test_sigterm_makes_an_obedient_handler_give_its_job_back_unspent(queue: Queue, start: Start) -> None:
    (job_id,) = _add(queue, "obedient")
    worker = start("obedient")
    eventually(lambda: worker.slot.activity.phase == Phase.RUNNING)  # before its handler began, it would go back without a word
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    view = _view(queue, job_id)
    assert (view.status, view.retry_count, view.interruptions) == (Status.PENDING, 0, 0)
    assert [each.reason for each in queue.attempts(job_id)] == ["given back by a draining worker"]


def test_sigterm_ends_an_idle_worker_at_once_however_long_it_rests(queue: Queue, start: Start) -> None:
    worker = start("quick", poll_interval=600)
    eventually(lambda: worker.slot.activity.phase == Phase.IDLE)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code(within=2) == 0


def test_the_order_to_drain_is_obeyed_without_a_signal(queue: Queue, start: Start) -> None:
    worker = start("quick")
    worker.order(Order.DRAIN)
    assert worker.exit_code() == 0


def test_a_quiet_worker_claims_nothing_until_it_may_again(queue: Queue, start: Start) -> None:
    worker = start("quick")
    worker.order(Order.QUIET)
    eventually(lambda: worker.slot.activity.phase == Phase.IDLE)
    tick = worker.slot.activity.tick
    (job_id,) = _add(queue, "quick")
    eventually(lambda: worker.slot.activity.tick > tick + 8)
    assert _status(queue, job_id) is Status.PENDING
    worker.order(Order.WORK)
    _ended(queue, job_id, Status.COMPLETED)


def test_an_idle_worker_leaves_when_its_supervisor_is_gone(queue: Queue, start: Start) -> None:
    worker = start("quick")
    worker.abandon()
    assert worker.exit_code() == 0


@pytest.mark.parametrize("how", ["cancel", "wish"])
def test_a_handler_that_is_told_to_cancel_ends_cancelled(queue: Queue, start: Start, how: str) -> None:
    (job_id,) = _add(queue, "obedient")
    worker = start("obedient")
    _runs(queue, job_id)
    if how == "cancel":
        worker.slot.ask_to_cancel(CancelRequest(job_id, 1, 0.0))
    else:
        worker.slot.want(Wish(Order.WORK, 1, job_id, Cause.CANCEL))
    _ended(queue, job_id, Status.CANCELLED)


def test_a_wish_about_another_attempt_stops_nobody(queue: Queue, start: Start) -> None:
    (job_id,) = _add(queue, "obedient")
    worker = start("obedient")
    _runs(queue, job_id)
    worker.slot.want(Wish(Order.WORK, 2, job_id, Cause.CANCEL))
    worker.slot.ask_to_cancel(CancelRequest(job_id + 1, 1, 0.0))
    worker.renew(queue)
    assert _status(queue, job_id) is Status.RUNNING


def test_a_handler_that_stops_at_its_deadline_has_timed_out(queue: Queue, start: Start) -> None:
    (job_id,) = queue.enqueue([NewJob("obedient", 1, max_retries=0)])
    worker = start("obedient", timeouts={"obedient": 0.2})
    assert _ended(queue, job_id, Status.FAILED).error_message == "ran past its timeout"
    assert [each.outcome for each in queue.attempts(job_id)] == ["timed_out"]
    assert worker.pid


def test_a_handler_stops_when_its_lease_is_not_renewed(queue: Queue, start: Start) -> None:
    (job_id,) = _add(queue, "obedient")
    worker = start("obedient", lock_timeout=0.6, heartbeat_interval=0.1)
    eventually(lambda: queue.attempts(job_id))
    assert queue.attempts(job_id)[0].outcome == "interrupted"
    assert queue.attempts(job_id)[0].reason == "its lease could not be renewed"
    assert worker.pid


def test_a_fenced_transaction_is_refused_once_the_job_was_reclaimed(
    queue: Queue, engine: Engine, start: Start, tmp_path: Path
) -> None:
    (job_id,) = _add(queue, "notes", until=str(tmp_path / "until"))
    worker = start("notes")
    eventually(lambda: _notes(engine) == ["before"])
    queue.reclaim(Death(tuple(worker.tags()), job_id, 1, Kind.CRASHED, "thought dead"))
    (other,) = queue.claim("other:1", ("notes",), 1)
    (tmp_path / "until").touch()
    eventually(lambda: worker.events("job.lease_lost"))
    assert _notes(engine) == ["before"]
    assert [each.outcome for each in queue.attempts(job_id)] == ["crashed"]
    assert queue.settle("other:1", [(other, Outcome(Kind.COMPLETED))]) == []


def test_a_lost_lease_is_reported_and_nothing_is_written(queue: Queue, start: Start, tmp_path: Path) -> None:
    (job_id,) = _add(queue, "until_file", until=str(tmp_path / "until"))
    worker = start("until_file")
    _runs(queue, job_id)
    queue.release(worker.tags(), "thought lost", interrupted=True)
    queue.cancel(job_id)
    (tmp_path / "until").touch()
    (event,) = eventually(lambda: worker.events("job.lease_lost"))
    assert (event["job_id"], event["attempt"]) == (job_id, 1)
    assert _view(queue, job_id).status == Status.CANCELLED
    worker.renew(queue)
    assert queue.held(worker.tags()) == set()


def test_laned_jobs_are_held_one_at_a_time(queue: Queue, start: Start, tmp_path: Path) -> None:
    queue.register({"until_file": JobTypeFacts("program:{program_id}")}, "test")
    worker = start("until_file", "quick")
    _grow(queue, worker)
    worker.order(Order.QUIET)
    eventually(lambda: worker.slot.activity.phase == Phase.IDLE)
    until = tmp_path / "until"
    ids = queue.enqueue([NewJob("until_file", program, parameters={"until": str(until)}) for program in (1, 2, 3)])
    queue.admit()
    worker.order(Order.WORK)
    eventually(lambda: worker.slot.activity.job_id == ids[0])
    eventually(lambda: [_status(queue, each) for each in ids] == [Status.RUNNING, Status.PENDING, Status.PENDING])
    assert len(queue.claim("other:1", ("until_file",), 5)) == 2
    until.touch()
    _ended(queue, ids[0], Status.COMPLETED)


def test_killed_in_mid_job_it_leaves_all_that_is_needed_to_take_the_job_back(
    queue: Queue, start: Start, tmp_path: Path
) -> None:
    (job_id,) = _add(queue, "until_file", until=str(tmp_path / "until"))
    worker = start("until_file")
    _runs(queue, job_id)
    eventually(lambda: worker.slot.activity.job_id == job_id)
    worker.signal(signal.SIGKILL)
    assert worker.exit_code() == -9
    last = worker.slot.activity
    assert (last.phase, last.job_id, last.lease) == (Phase.RUNNING, job_id, 1)
    queue.reclaim(Death(tuple(worker.tags()), last.job_id, last.lease, Kind.CRASHED, "killed"))
    view = _view(queue, job_id)
    assert (view.status, view.retry_count) == (Status.PENDING, 1)


@pytest.fixture(scope="module")
def own_server() -> Any:
    """A server that the test may stop."""
    server = PrivatePostgres().start()
    yield server
    server.remove()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_handler_outlives_an_outage_and_is_settled_afterwards(
    backend: str, own_server: PrivatePostgres, tmp_path: Path
) -> None:
    queue = Queue(open_engine(own_server.url(), connect_timeout=1))
    upgrade(queue.engine)
    queue.register({"until_file": JobTypeFacts(None)}, "test")
    (job_id,) = _add(queue, "until_file", until=str(tmp_path / "until"))
    worker = RunningWorker(tmp_path, own_server.url(), "until_file", lock_timeout=30.0).start(queue)
    try:
        _runs(queue, job_id)
        own_server.stop()
        (tmp_path / "until").touch()
        eventually(lambda: worker.slot.activity.phase == Phase.SETTLING)
        eventually(lambda: worker.events("database.unavailable"))
        own_server.start()
        wait_for(own_server.url())
        queue.engine.dispose()
        view = _ended(queue, job_id, Status.COMPLETED, within=15)
        assert (view.retry_count, view.interruptions, queue.attempts(job_id)) == (0, 0, [])
        assert worker.events("job.lease_lost") == []
        (after,) = _add(queue, "until_file", until=str(tmp_path / "until"))
        _ended(queue, after, Status.COMPLETED, within=15)
    finally:
        worker.remove()
        queue.engine.dispose()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_two_hosts_workers_of_one_number_ask_a_server_that_refuses_them_later_and_later_each_at_its_own_time(
    queue: Queue, tmp_path: Path
) -> None:
    """The numbers of workers begin at one on every host: were chance drawn by them alone, all hosts would ask at once."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        url = f"postgresql://nobody@127.0.0.1:{closed.getsockname()[1]}/none"
        workers = []
        try:
            for host in ("one", "two"):
                (tmp_path / host).mkdir()
                worker = RunningWorker(tmp_path / host, url, "quick", process_id=f"{host}-1", lock_timeout=30.0)
                workers.append(worker.start(queue))
            pauses = [_pauses(worker, 3) for worker in workers]
        finally:
            for worker in workers:
                worker.remove()
    for its in pauses:
        assert all(pause > shortest for pause, shortest in zip(its, (0.25, 0.5, 1.0), strict=True)), its
    assert max(abs(one - two) for one, two in zip(*pauses, strict=True)) > 0.1, f"they ask in step: {pauses}"


def _pauses(worker: RunningWorker, number: int) -> list[float]:
    """The first seconds that it let pass between two refusals."""

    def refused() -> list[float]:
        return [float(each["timestamp"]) for each in worker.events("database.unavailable")]

    eventually(lambda: len(refused()) > number)
    return [after - before for before, after in pairwise(refused())][:number]


def test_a_worker_that_gets_no_thread_goes_on_without_its_helper_and_its_counts(queue: Queue, start: Start) -> None:
    _add(queue, "uses_up_threads")
    ids = _add(queue, "quick", 200)
    worker = start("uses_up_threads", "quick")
    for job_id in ids:
        _ended(queue, job_id, Status.COMPLETED)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    assert queue.measures(30.0).sums[Sum(ATTEMPTS, "quick", "completed")] == len(ids)
