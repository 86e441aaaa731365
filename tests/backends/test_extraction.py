"""Secrets are taken out of job parameters wherever they arrive, and are gone when the job is over."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, select, text

from backends import (
    CancelAnswer,
    JobTypeFacts,
    KeyProblem,
    Kind,
    NewJob,
    Outcome,
    Owner,
    Queue,
    RetryPolicy,
    Status,
    add_key,
    open_engine,
    read_secret,
    secret_names,
    store_secret,
)
from backends.extraction import MOST_SECRETS, UNREADABLE, WHOLE, names_a_secret, part, part_text
from backends.job import Job
from backends.portions import search, searchable
from backends.tables import indexing_jobs, secrets
from tests.backends.conftest import TYPES
from tests.backends.scene import DONE, change, claim_one, foreign_engine, insert_raw, member, row

MARK = "ya29.the-mark"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A key file, with a key in it."""
    add_key(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def engine(database_url: str, keys: Path) -> Iterator[Engine]:
    engine = open_engine(database_url, key_file=keys)
    yield engine
    engine.dispose()


def secrets_of(queue: Queue, job_id: int) -> dict[str, str | None]:
    def read(connection: Any) -> dict[str, str | None]:
        names = secret_names(connection, Owner.JOB, job_id)
        return {name: read_secret(connection, Owner.JOB, job_id, name) for name in names}

    return queue.read(read)


def is_anywhere(queue: Queue, mark: str = MARK) -> bool:
    """Whether the mark stands in clear in the jobs' table or that of their secrets."""
    return queue.read(
        lambda connection: any(
            mark in str(tuple(each)) for table in (indexing_jobs, secrets) for each in connection.execute(select(table))
        )
    )


@pytest.mark.parametrize("name", [
    "access_token", "accessToken", "ACCESS-TOKEN", "refresh_token", "idToken", "token", "drive.token", "tokens", "password",
    "dbPassword", "passwd", "secret", "clientSecret", "private_key", "APIKey", "api_key", "x-api-key", "Authorization",
    "credential", "credentials", "service_account", "serviceAccount", "password2", "aws_secret_access_key",
])
def test_names_of_secrets_are_known_however_they_are_spelled(name: str) -> None:
    assert names_a_secret(name)


@pytest.mark.parametrize("name", [
    "page_token", "nextPageToken", "token_count", "max_retries", "passenger", "secretary", "access_token_env", "token_uri",
    "keyboard", "key", "author", "service", "account", "private_key_id", "", "1", "é",
])
def test_other_names_are_left_alone(name: str) -> None:
    assert not names_a_secret(name)


def test_secrets_are_found_at_any_depth_by_their_path() -> None:
    given = {
        "folder": "x", "drive": {"access_token": "a", "page": 3}, "accounts": [{"user": "u", "password": 12}, {}],
        "odd key": {"token": "b"}, "service_account": {"private_key": "c"}, "token": None, "secret": "", "max_tokens": 100,
    }
    kept, found = part(given)
    assert kept == {
        "folder": "x", "drive": {"page": 3}, "accounts": [{"user": "u"}, {}], "odd key": {}, "token": None, "secret": "",
        "max_tokens": 100,
    }
    assert found == {
        "drive.access_token": "a", "accounts[0].password": "12", '["odd key"].token': "b",
        "service_account": '{"private_key": "c"}',
    }


@pytest.mark.parametrize(("text", "kept", "found"), [
    ('{"token": "a", "x": 1}', {"x": 1}, {"token": "a"}),
    (r'{"t\u006fken": "a"}', {}, {"token": "a"}),
    ('{"token": "a", "token": ""}', {"token": ""}, {}),
    ('{"x": {"token": "a"}, "x": 1}', {"x": 1}, {}),
    ('[{"token": "a"}]', [{}], {"[0].token": "a"}),
    (r'{"token": "\ud800\u0000"}', {}, {"token": "\ud800\0"}),
])
def test_json_is_rewritten_without_its_secrets(text: str, kept: Any, found: dict[str, str]) -> None:
    rewritten, taken = part_text(text)
    assert (json.loads(rewritten), taken) == (kept, found)


@pytest.mark.parametrize("text", ['{"token": "a"', "token=a", '{"token":' * 5000])
def test_what_is_not_json_is_taken_out_as_a_whole(text: str) -> None:
    assert part_text(text) == (UNREADABLE, {WHOLE: text})


def test_text_without_secrets_stays_as_it_was_written() -> None:
    assert part_text('{ "key" :1.0e5}') == ('{ "key" :1.0e5}', {})


LONG_KEY = "x" * 4_000_000


@pytest.mark.parametrize("each", ["0,", "[],", '{"token":"a"},', '{"a b":{"token":"a"}},'])
def test_a_long_key_costs_what_it_is_long_and_not_that_for_each_value_under_it(each: str) -> None:
    number = MOST_SECRETS - 1 if "token" in each else 50_000
    began = time.process_time()
    kept, found = part_text(f'{{"{LONG_KEY}":[{each * number}0],"key":1,"token":"b"}}')
    assert time.process_time() - began < 3.0
    assert found.pop("token") == "b"
    assert len(found) == (number if "token" in each else 0)
    assert all(len(name) == 500 for name in found)
    assert json.loads(kept).keys() == {LONG_KEY, "key"}


def test_a_long_path_is_called_as_whoever_asks_for_the_whole_of_it_is_answered(queue: Queue, engine: Engine) -> None:
    path = ".".join(["folder" * 20, "é" * 300, '["odd key"]', "accounts[7]", "password"]).replace(".[", "[")
    job_id = insert_raw(engine, job_parameters=json.dumps(
        {"folder" * 20: {"é" * 300: {"odd key": {"accounts": [{}] * 7 + [{"password": MARK}]}}}}
    ))
    queue.admit()
    assert queue.read(lambda connection: read_secret(connection, Owner.JOB, job_id, path)) == MARK


def test_more_secrets_than_anybody_has_are_taken_out_as_a_whole(queue: Queue, engine: Engine) -> None:
    many, too_many = (json.dumps({"accounts": [{"token": MARK}] * n}) for n in (MOST_SECRETS, MOST_SECRETS + 1))
    assert len(part_text(many)[1]) == MOST_SECRETS
    job_id = insert_raw(engine, job_parameters=too_many)
    queue.admit()
    assert row(queue, job_id).job_parameters == UNREADABLE
    assert secrets_of(queue, job_id) == {WHOLE: too_many}


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("in_callers", [True, False])
@pytest.mark.parametrize("unique_key", [None, "once"])
def test_enqueued_secrets_are_kept_encrypted(queue: Queue, together: int, in_callers: bool, unique_key: str | None) -> None:
    jobs = [NewJob("quick", 1, parameters={"n": 1}) for _ in range(together - 1)]
    jobs.append(NewJob("quick", 1, unique_key=unique_key, parameters={"access_token": MARK, "deep": [{"token": "t"}], "n": 2}))
    if in_callers:
        with queue.engine.begin() as connection:
            ids = queue.enqueue(jobs, connection)
    else:
        ids = queue.enqueue(jobs)
    assert secrets_of(queue, ids[-1]) == {"access_token": MARK, "deep[0].token": "t"}
    assert [row(queue, job_id).holds_secrets for job_id in ids] == [None] * (together - 1) + [True]
    assert [secrets_of(queue, job_id) for job_id in ids[:-1]] == [{}] * (together - 1)
    assert not is_anywhere(queue)
    view = queue.get(ids[-1])
    assert view is not None
    assert (view.parameters, view.holds_secrets) == ({"deep": [{}], "n": 2}, True)
    mine = next(each for each in queue.claim("t:1", ("quick",), 5) if each.id == ids[-1])
    assert (mine.parameters, mine.holds_secrets) == ({"deep": [{}], "n": 2}, True)


def test_a_repeated_key_leaves_the_first_jobs_secrets_as_they_are(queue: Queue) -> None:
    first, second = (
        queue.enqueue([NewJob("quick", 1, unique_key="one", parameters={"token": token})])[0] for token in ("first", "second")
    )
    assert first == second
    assert secrets_of(queue, first) == {"token": "first"}


def test_without_a_secret_enqueueing_and_settling_send_the_same_statements_as_ever(queue: Queue) -> None:
    sent: list[str] = []
    event.listen(queue.engine, "before_cursor_execute", lambda c, cur, statement, *rest: sent.append(statement))
    queue.enqueue([NewJob("quick", 1, parameters={"key": "no secret", "page_token": "x"})])
    queue.enqueue([NewJob("quick", 1, parameters={"n": n}) for n in range(10)])
    claimed = queue.claim("t:1", ("quick",), 20)
    queue.settle_and_claim("t:1", [(each, DONE) for each in claimed], "t:2", ("quick",), 5)
    assert len(claimed) == 11
    assert not [statement for statement in sent if "jobqueue_secrets" in statement]
    assert len([statement for statement in sent if "INSERT INTO indexing_jobs" in statement]) == 2


@pytest.mark.parametrize("job_type", ["quick", "laned", "novel", "n" * 600])
@pytest.mark.parametrize("parameters", [
    json.dumps({"n": 1, "accessToken": MARK}), json.dumps({"n": 1, "in": {"api_key": [MARK]}}), f'{{"token": "{MARK}',
])
def test_a_raw_insert_with_a_token_never_leaves_it_in_the_table_once_admitted(
    queue: Queue, engine: Engine, job_type: str, parameters: str
) -> None:
    job_id = insert_raw(engine, job_type=job_type, job_parameters=parameters)
    view = queue.get(job_id)
    assert view is not None
    assert MARK not in str(view)
    assert is_anywhere(queue)
    queue.admit()
    assert not is_anywhere(queue)
    assert row(queue, job_id).holds_secrets is True
    assert MARK in str(secrets_of(queue, job_id))


def test_a_claim_that_admits_takes_secrets_out_first(queue: Queue, engine: Engine) -> None:
    insert_raw(engine, job_parameters=json.dumps({"token": MARK, "n": 1}))
    claimed = claim_one(queue)
    assert (claimed.parameters, claimed.holds_secrets) == ({"n": 1}, True)
    assert not is_anywhere(queue)


def test_many_raw_inserts_are_parted_together(queue: Queue, engine: Engine) -> None:
    ids = [insert_raw(engine, job_parameters=json.dumps({"n": n, "token": f"{MARK}{n}"})) for n in range(30)]
    queue.admit()
    assert not is_anywhere(queue)
    assert [secrets_of(queue, job_id) for job_id in ids] == [{"token": f"{MARK}{n}"} for n in range(30)]
    assert [json.loads(row(queue, job_id).job_parameters) for job_id in ids] == [{"n": n} for n in range(30)]


def test_large_parameters_are_searched_a_few_at_a_time_and_those_left_at_once_after_that(queue: Queue, engine: Engine) -> None:
    large = json.dumps({"key": "x" * 600_000, "token": MARK})
    ids = [insert_raw(engine, job_parameters=large) for _ in range(8)]
    small = insert_raw(engine)
    turns = [queue.admit()]
    while queue.next_due() == 0.0:
        assert row(queue, small).ready_at is None
        turns.append(queue.admit())
    assert turns == [3, 3, 3]
    assert queue.next_due() is None
    assert not is_anywhere(queue)
    assert [secrets_of(queue, job_id) for job_id in ids] == [{"token": MARK}] * 8


def test_a_worker_that_admits_searches_a_few_at_a_time(queue: Queue, engine: Engine) -> None:
    ids = [insert_raw(engine, job_parameters=json.dumps({"key": "x" * 900_000})) for _ in range(6)]
    assert [each.id for each in queue.claim("t:1", ("quick",), 6)] == ids[:2]


def test_a_row_that_is_larger_than_a_portion_is_searched_by_itself(queue: Queue, engine: Engine) -> None:
    huge = insert_raw(engine, job_parameters=json.dumps({"key": "x" * 5_000_000, "token": MARK}))
    insert_raw(engine, job_parameters=json.dumps({"key": "x" * 10_000}))
    assert [queue.admit(), queue.admit()] == [1, 1]
    assert secrets_of(queue, huge) == {"token": MARK}


def test_no_further_row_is_begun_when_it_took_long_enough(queue: Queue, engine: Engine) -> None:
    for _ in range(5):
        insert_raw(engine, job_parameters='{"key": 1}')
    moments = iter([0.0, 0.1, 0.6])

    def look(connection: Connection) -> int:
        rows = connection.execute(select(indexing_jobs.c.id, *searchable()).order_by(indexing_jobs.c.id)).all()
        return len(search(connection, rows, lambda: next(moments)).rows)

    assert queue.read(look) == 2


def ended_as(status: Status) -> Outcome:
    return {
        Status.COMPLETED: DONE, Status.FAILED: Outcome(Kind.GAVE_UP, "no"), Status.CANCELLED: Outcome(Kind.CANCELLED),
    }[status]


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
@pytest.mark.parametrize("job_type", ["quick", "laned"])
def test_secrets_are_deleted_when_the_job_is_over(queue: Queue, status: Status, job_type: str) -> None:
    job_id, other = queue.enqueue([NewJob(job_type, n, parameters={"token": MARK}) for n in (1, 2)])
    mine = claim_one(queue)
    queue.settle("tester:0001", [(mine, Outcome(Kind.SNOOZED, after=0.0))])
    assert secrets_of(queue, job_id) == {"token": MARK}
    mine = next(each for each in (claim_one(queue), claim_one(queue)) if each.id == job_id)
    cycle = queue.settle_and_claim("tester:0001", [(mine, ended_as(status))], "t:2", ("quick",), 1)
    assert cycle.lost == []
    assert (row(queue, job_id).status, row(queue, job_id).holds_secrets) == (status, False)
    assert secrets_of(queue, job_id) == {}
    assert secrets_of(queue, other) == {"token": MARK}


def test_secrets_of_a_job_cancelled_before_it_ran_are_deleted(queue: Queue, engine: Engine) -> None:
    (job_id,) = queue.enqueue([NewJob("quick", 1, parameters={"token": MARK})])
    raw = insert_raw(engine, job_parameters=json.dumps({"token": MARK, "n": 1}))
    assert {queue.cancel(each) for each in (job_id, raw)} == {CancelAnswer.CANCELLED}
    assert [row(queue, each).holds_secrets for each in (job_id, raw)] == [False, False]
    assert json.loads(row(queue, raw).job_parameters) == {"n": 1}
    assert secrets_of(queue, job_id) == secrets_of(queue, raw) == {}
    assert not is_anywhere(queue)


def test_a_crash_beyond_the_last_retry_deletes_them_too(queue: Queue) -> None:
    (job_id,) = queue.enqueue([NewJob("quick", 1, max_retries=0, parameters={"token": MARK})])
    claim_one(queue)
    change(queue.engine, job_id, locked_at=None, locked_boot=None, interruptions=20)
    assert [each.status for each in queue.reclaim_expired(1.0)] == [Status.FAILED]
    assert secrets_of(queue, job_id) == {}


def test_pruning_and_sweeping_leave_no_secret_without_its_job(queue: Queue, engine: Engine) -> None:
    pruned, gone, over, alive, fresh = queue.enqueue([NewJob("quick", 1, parameters={"token": MARK}) for _ in range(5)])
    claimed = {each.id: each for each in queue.claim("t:1", ("quick",), 3)}
    queue.settle("t:1", [(claimed[each], DONE) for each in (pruned, over)])
    with engine.begin() as connection:
        for job_id in (pruned, over):
            store_secret(connection, Owner.JOB, job_id, "token", "late")
        connection.execute(text(f"DELETE FROM indexing_jobs WHERE id = {gone}"))
    change(engine, over, completed_at=None)
    assert queue.prune({Status.COMPLETED: -1.0}).gone == 1
    assert secrets_of(queue, pruned) == {}
    assert queue.sweep_secrets() == 0
    with engine.begin() as connection:
        older = secrets.update().where(secrets.c.owner_id != fresh).values(created_at=datetime(2000, 1, 1, tzinfo=UTC))
        connection.execute(older)
    assert sum(queue.sweep_secrets(batch=1) for _ in range(4)) == 2
    assert [bool(secrets_of(queue, each)) for each in (gone, over, alive, fresh)] == [False, False, True, True]


@pytest.fixture
def keyless(database_url: str, tmp_path: Path) -> Iterator[Queue]:
    """A queue whose key file is missing."""
    engine = open_engine(database_url, key_file=tmp_path / "later")
    queue = Queue(engine, {name: RetryPolicy() for name in TYPES}, Random(1))
    queue.register({**TYPES, "novel": JobTypeFacts(None)}, "test")
    yield queue
    engine.dispose()


def test_without_a_key_a_job_with_a_token_waits_and_holds_up_nobody(keyless: Queue, tmp_path: Path) -> None:
    waiting = insert_raw(keyless.engine, job_parameters=json.dumps({"token": MARK}))
    other = insert_raw(keyless.engine, job_parameters=json.dumps({"n": 1}))
    assert keyless.admit() == 1
    assert [each.id for each in keyless.claim("t:1", ("quick",), 5)] == [other]
    assert keyless.admit() == 0
    (sentence,) = [each for each in keyless.why(waiting) or () if "secret" in each]
    assert "does not run before that is encrypted: the key file" in sentence
    assert "supervisor secrets new-key" in sentence
    assert MARK not in str(keyless.get(waiting))
    for told in keyless.why(waiting, scope=member(keyless.engine, 1)) or ():
        assert str(tmp_path) not in told
        assert "key file" not in told
    add_key(tmp_path / "later")
    assert "it will be examined anew" in " ".join(keyless.why(waiting) or ())
    assert keyless.admit() == 1
    assert not is_anywhere(keyless)
    assert [each.id for each in keyless.claim("t:2", ("quick",), 5)] == [waiting]


def test_a_job_that_waits_for_a_key_can_be_cancelled(keyless: Queue) -> None:
    job_id = insert_raw(keyless.engine, job_type="laned", job_parameters=json.dumps({"token": MARK}))
    keyless.admit()
    assert keyless.cancel(job_id) is CancelAnswer.CANCELLED
    assert not is_anywhere(keyless)


@pytest.mark.parametrize("together", [1, 2])
def test_without_a_key_no_secret_is_enqueued(keyless: Queue, together: int) -> None:
    jobs = [NewJob("quick", 1, parameters={"token": MARK})] * together
    with keyless.engine.begin() as connection, pytest.raises(KeyProblem, match="supervisor secrets new-key"):
        keyless.enqueue(jobs, connection)
    assert keyless.counts().pending == 0


def test_a_retried_job_remembers_that_it_had_secrets(queue: Queue) -> None:
    (job_id,) = queue.enqueue([NewJob("quick", 1, parameters={"token": MARK})])
    queue.settle("tester:0001", [(claim_one(queue), DONE)])
    queue.retry(job_id)
    mine: Job = claim_one(queue)
    assert mine.holds_secrets is False


def test_another_programs_transaction_with_a_token_is_found_by_admission(queue: Queue, database_url: str) -> None:
    theirs = foreign_engine(database_url)
    insert_raw(theirs, job_parameters=json.dumps({"secret": MARK}))
    theirs.dispose()
    assert queue.admit() == 1
    assert not is_anywhere(queue)
