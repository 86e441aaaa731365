"""Enqueue: rows into the queue, in whoever's transaction."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Engine, text

from backends import BadParameters, NewJob, Queue, open_engine
from backends.parameters import DEEPEST, LARGEST_PARAMETERS, parameters_text
from tests.backends.scene import DONE, claim_one, in_processes, insert_raw, row
from tests.support import eventually


def nested(depth: int) -> Any:
    """So many lists within each other."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


NESTED = nested(100_000)


def test_ids_come_back_in_the_order_of_the_jobs(queue: Queue) -> None:
    ids = queue.enqueue([NewJob("quick", 1, parameters={"n": n}) for n in range(50)])
    assert [row(queue, job_id).job_parameters for job_id in ids] == [f'{{"n": {n}}}' for n in range(50)]


def test_nothing_enqueued_is_nothing_done(queue: Queue) -> None:
    assert queue.enqueue([]) == []


def test_every_field_is_stored_as_given(queue: Queue) -> None:
    at = datetime.now(UTC) + timedelta(days=1)
    new = NewJob("laned", 7, 8, "folder_123", 5, 9, at, "key", {"text": "ünï 漢字 \u2028", "list": [1, None, True]})
    view = queue.get(queue.enqueue([new])[0])
    assert view is not None
    assert (view.job_type, view.program_id, view.user_id, view.folder_id) == ("laned", 7, 8, "folder_123")
    assert (view.priority, view.max_retries, view.scheduled_at, view.unique_key) == (5, 9, at, "key")
    assert view.parameters == new.parameters


def test_a_job_takes_its_types_number_of_retries_unless_it_says_otherwise(queue: Queue) -> None:
    jobs = [NewJob("other", 1), NewJob("other", 1, max_retries=0), NewJob("never heard of", 1)]
    assert [row(queue, job_id).max_retries for job_id in queue.enqueue(jobs)] == [1, 0, 3]


def test_an_unlaned_job_is_ready_at_once_and_others_are_left_to_admission(queue: Queue) -> None:
    now = datetime.now(UTC)
    plain, past, future, laned, unknown = queue.enqueue([
        NewJob("quick", 1),
        NewJob("quick", 1, scheduled_at=now - timedelta(hours=1)),
        NewJob("quick", 1, scheduled_at=now + timedelta(hours=1)),
        NewJob("laned", 1),
        NewJob("never heard of", 1),
    ])
    assert all(row(queue, job_id).ready_at for job_id in (plain, past))
    assert not any(row(queue, job_id).ready_at for job_id in (future, laned, unknown))


def test_a_job_exists_exactly_if_the_callers_transaction_commits(queue: Queue) -> None:
    with queue.engine.connect() as connection:
        connection.begin()
        (vanished,) = queue.enqueue([NewJob("quick", 1)], connection)
        connection.rollback()
        connection.begin()
        (kept,) = queue.enqueue([NewJob("quick", 1)], connection)
        connection.commit()
    assert queue.get(kept) is not None
    assert kept == vanished or queue.get(vanished) is None
    assert queue.counts().pending == 1


def test_the_job_and_the_callers_own_rows_commit_together(queue: Queue) -> None:
    with queue.engine.begin() as connection:
        connection.execute(text("INSERT INTO jobqueue_programs (name, source) VALUES ('mine', 'local')"))
        queue.enqueue([NewJob("quick", 1)], connection)
    with queue.engine.connect() as connection:
        assert connection.execute(text("SELECT name FROM jobqueue_programs")).scalars().all() == ["mine"]
    assert queue.counts().pending == 1


def test_a_repeated_key_gives_the_existing_job_until_its_row_is_pruned(queue: Queue) -> None:
    (first,) = queue.enqueue([NewJob("quick", 1, unique_key="night")])
    assert queue.enqueue([NewJob("quick", 1, unique_key="night"), NewJob("quick", 1, unique_key="night")]) == [first, first]
    assert queue.enqueue([NewJob("quick", 2, unique_key="night")]) != [first]
    assert queue.counts(1).pending == 1


def test_a_key_repeated_in_several_programs_is_answered_with_the_job_of_each(queue: Queue) -> None:
    keyed = [NewJob("quick", program, unique_key="night") for program in (1, 2)]
    ids = [queue.enqueue([new])[0] for new in keyed]
    again = [queue.enqueue([new])[0] for new in keyed]
    assert again == ids, "a repeated key was answered with another program's job"
    assert queue.enqueue(keyed) == ids, "a repeated key was answered with another program's job in a batch"


def test_a_repeated_key_keeps_the_callers_transaction_usable(queue: Queue) -> None:
    (first,) = queue.enqueue([NewJob("quick", 1, unique_key="night")])
    with queue.engine.begin() as connection:
        again = queue.enqueue([NewJob("quick", 1, unique_key="night")], connection)
        queue.enqueue([NewJob("quick", 1, unique_key="day")], connection)
    assert again == [first]
    assert queue.counts().pending == 2


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("others", [[], [NewJob("quick", 1, unique_key="day")]], ids=["alone", "in a batch"])
def test_a_repeated_key_in_a_transaction_that_stays_open_holds_up_no_end_of_its_job(queue: Queue, others: list[NewJob]) -> None:
    keyed = NewJob("laned", 1, unique_key="night")
    (first,) = queue.enqueue([keyed])
    job = claim_one(queue, "tester:0001", "laned")
    with queue.engine.begin() as connection:
        assert queue.enqueue([keyed, *others], connection)[0] == first
        assert queue.settle("tester:0001", [(job, DONE)]) == []


def test_jobs_keep_their_order_when_only_some_have_a_key(queue: Queue) -> None:
    ids = queue.enqueue([NewJob("quick", 1, unique_key=key) for key in ("z", None, "a", None)])
    assert [row(queue, job_id).unique_key for job_id in ids] == ["z", None, "a", None]
    assert [each.id for each in queue.claim("tester:0001", ("quick",), 4)] == ids
    assert queue.enqueue([NewJob("quick", 1, unique_key=key) for key in ("a", "b", "z")])[::2] == [ids[2], ids[0]]


def test_of_a_batch_the_first_of_a_key_counts_and_whatever_is_taken_is_found(queue: Queue) -> None:
    (taken,) = queue.enqueue([NewJob("quick", 1, unique_key="b")])
    keys = ("c", "b", None, "a", "c", None, "b")
    ids = queue.enqueue([NewJob("quick", 1, unique_key=key, parameters={"n": n}) for n, key in enumerate(keys)])
    assert (ids[1], ids[6], ids[4]) == (taken, taken, ids[0])
    assert [row(queue, ids[n]).job_parameters for n in (0, 2, 3, 5)] == [f'{{"n": {n}}}' for n in (0, 2, 3, 5)]
    assert len(set(ids)) == 5
    assert queue.counts().pending == 5


def test_writers_of_the_same_keys_in_opposite_order_wait_for_each_other(queue: Queue, database_url: str) -> None:
    jobs = [NewJob("quick", n % 2, unique_key=f"key {n}") for n in range(150)]

    def add(backwards: int) -> list[int]:
        own = Queue(open_engine(database_url))
        for each in range(4):
            mine = [NewJob("quick", new.program_id, unique_key=f"{new.unique_key} of {each}") for new in jobs]
            ids = own.enqueue(mine[::-1])[::-1] if backwards else own.enqueue(mine)
        return ids

    answers = in_processes(queue.engine, add, (0, 1))
    assert answers[0] == answers[1]
    assert queue.counts().pending == 600


def test_processes_that_enqueue_the_same_keys_at_once_all_get_the_same_jobs(queue: Queue, database_url: str) -> None:
    def add(_: int) -> list[int]:
        own = Queue(open_engine(database_url))
        return [own.enqueue([NewJob("quick", 1, unique_key=f"key {n}")])[0] for n in range(30)]

    answers = in_processes(queue.engine, add, range(6))
    assert all(answer == answers[0] for answer in answers)
    assert queue.counts().pending == 30


def test_a_rival_with_the_same_key_is_waited_for_and_its_rollback_lets_us_in(queue: Queue) -> None:
    ids: list[int] = []
    with queue.engine.connect() as rival:
        rival.begin()
        insert_raw(rival, unique_key="night")
        late = threading.Thread(target=lambda: ids.extend(queue.enqueue([NewJob("quick", 1, unique_key="night")])))
        late.start()
        late.join(0.2)
        assert not ids
        rival.rollback()
    eventually(lambda: ids)
    late.join()
    assert queue.counts().pending == 1


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"a": float("nan")}, "cannot be stored as JSON"),
        ({"a": float("-inf")}, "cannot be stored as JSON"),
        ({"a": {1, 2}}, "cannot be stored as JSON"),
        ({"a": b"bytes"}, "cannot be stored as JSON"),
        ({"a": NESTED}, f"more than {DEEPEST} levels"),
        ({"a": nested(DEEPEST)}, f"more than {DEEPEST} levels"),
        ({"a": [{"b": 2**63}]}, "beyond 64 bits"),
        ({"a": -(2**63)}, "beyond 64 bits"),
        ({"a": 10**5000}, "beyond 64 bits"),
        ({"a": {1: "one", "1": "two"}}, "the key 1, which is no text"),
        ({"a": "\ud800"}, "cannot be stored as JSON"),
        ({"\udfff": 1}, "cannot be stored as JSON"),
        ({"a": "nul \0 here"}, "NUL"),
        ({"a": "\\\0"}, "NUL"),
        ({"a\0": 1}, "NUL"),
        ({"a": "x" * LARGEST_PARAMETERS}, f"at most {LARGEST_PARAMETERS}"),
        ({"a": "ü" * (LARGEST_PARAMETERS // 2)}, f"at most {LARGEST_PARAMETERS}"),
    ],
)
def test_parameters_that_cannot_be_stored_are_refused(parameters: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadParameters, match=complaint):
        parameters_text(parameters)


@pytest.mark.parametrize("parameters", [{"a": nested(DEEPEST - 1)}, {"a": 2**63 - 1, "b": -(2**63) + 1, "c": [True, 1e308]}])
def test_parameters_at_the_edge_of_what_is_allowed_come_back_as_they_were(queue: Queue, parameters: dict[str, Any]) -> None:
    (job_id,) = queue.enqueue([NewJob("quick", 1, parameters=parameters)])
    view = queue.get(job_id)
    assert view is not None
    assert view.parameters == parameters


@pytest.mark.parametrize("zone", [timezone(timedelta(hours=14)), UTC, timezone(timedelta(hours=-12))])
@pytest.mark.parametrize("moment", [datetime(1, 1, 1), datetime(1899, 12, 31), datetime(9999, 12, 31, 23, 59, 59, 999_999)])
def test_moments_that_no_calendar_reaches_are_refused(queue: Queue, moment: datetime, zone: timezone) -> None:
    with pytest.raises(BadParameters, match="not between the years 1900 and 9998"):
        queue.enqueue([NewJob("quick", 1, scheduled_at=moment.replace(tzinfo=zone))])


def test_text_that_only_looks_like_nul_is_stored(queue: Queue) -> None:
    for harmless in ("\\u0000", "\\\\u0000", "C:\\u0000", "\x01", "\U0010ffff"):
        (job_id,) = queue.enqueue([NewJob("quick", 1, parameters={harmless: harmless})])
        view = queue.get(job_id)
        assert view is not None
        assert view.parameters == {harmless: harmless}


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("job_type", "a\0b", "job_type contains a NUL"),
        ("folder_id", "\ud800", "folder_id contains a lone surrogate"),
        ("unique_key", "k" * 501, "unique_key has 501 characters; at most 500"),
        ("job_type", "k" * 501, "job_type has 501 characters; at most 500"),
        ("priority", 2**31, "priority 2147483648 does not fit"),
        ("user_id", -(2**31) - 1, "user_id -2147483649 does not fit"),
        ("max_retries", 2**40, "max_retries"),
        ("scheduled_at", datetime(2030, 1, 1), "scheduled_at 2030-01-01T00:00:00 has no time zone"),
    ],
)
def test_both_databases_refuse_the_same_fields_before_anything_is_inserted(
    queue: Queue, field: str, value: Any, complaint: str
) -> None:
    bad: dict[str, Any] = {"job_type": "quick", "program_id": 1, field: value}
    with pytest.raises(BadParameters, match=complaint):
        queue.enqueue([NewJob("quick", 1), NewJob(**bad)])
    assert queue.counts().pending == 0


def test_the_longest_keys_and_names_fit_into_the_indexes(queue: Queue, engine: Engine) -> None:
    widest = "\U0001f600" * 500
    (job_id,) = queue.enqueue([NewJob(widest, 1, unique_key=widest)])
    queue.admit()
    assert row(queue, job_id).waits_for == "handler"
