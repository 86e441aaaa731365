"""A handler's secrets: its own are read, none of them stays in what the attempt leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from backends import NewJob, Owner, Queue, Status, new_key, store_secret
from tests.support import eventually
from tests.workers.running import Start
from workers import scrubbing

MARK = 'the "mark" / ü\nof-secrecy'


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBQUEUE_ENCRYPTION_KEYS", new_key())


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    scrubbing.forget()


def ends(queue: Queue, job_id: int) -> Status:
    def status() -> str | None:
        view = queue.get(job_id)
        return view.status if view and view.status in ("completed", "failed", "cancelled") else None

    return Status(eventually(status) or "")


@pytest.mark.parametrize("parameters", [{}, {"checkpoint": True}])
def test_what_an_attempt_has_read_is_in_nothing_it_leaves_behind(queue: Queue, start: Start, parameters: dict[str, bool]) -> None:
    (job_id,) = queue.enqueue([NewJob("confides", 1, max_retries=0, parameters={"access_token": MARK, **parameters})])
    worker = start("confides")
    assert ends(queue, job_id) is Status.FAILED
    view, (attempt,) = queue.get(job_id), queue.attempts(job_id)
    assert view is not None
    said = json.dumps([view.as_dict(), attempt.as_dict()], ensure_ascii=False)
    for part in (MARK, "of-secrecy", 'the \\"mark', "mark / "):
        assert part not in said
    assert view.progress_message == "with ***"
    if parameters:
        assert "the checkpoint holds a secret" in attempt.reason
    else:
        assert attempt.reason == 'RuntimeError: outer *** "***"'
        assert "inner" in attempt.detail
    assert "of-secrecy" not in str(worker.events("job.failed"))
    assert view.holds_secrets is False


def test_a_retried_job_whose_secrets_are_gone_says_so(queue: Queue, start: Start, engine: Engine) -> None:
    (job_id,) = queue.enqueue([NewJob("asks_for_a_secret", 1, parameters={"access_token": MARK})])
    start("asks_for_a_secret")
    assert ends(queue, job_id) is Status.COMPLETED
    queue.retry(job_id)
    assert ends(queue, job_id) is Status.FAILED
    view = queue.get(job_id)
    assert view is not None
    assert view.error_message == (
        f"the secrets of job {job_id} were deleted when it ended before; store what it needs, then retry it: "
        f"supervisor secrets set --job {job_id} NAME"
    )
    with engine.begin() as connection:
        store_secret(connection, Owner.JOB, job_id, "access_token", "another")
    queue.retry(job_id)
    assert ends(queue, job_id) is Status.COMPLETED


def test_every_spelling_of_a_secret_and_the_parts_of_a_key_are_scrubbed() -> None:
    key = json.dumps({"client_email": "robot@example.com", "private_key": "-----BEGIN-----\nMIIEsecretline\n-----END-----\n"})
    scrubbing.remember(key)
    scrubbing.remember("a b&c")
    text = "MIIEsecretline, a+b%26c, a%20b%26c, a b&c, robot@example.com, or not"
    assert scrubbing.scrub(text) == "***, ***, ***, ***, ***, or not"
    scrubbing.forget()
    assert scrubbing.scrub(text) == text
