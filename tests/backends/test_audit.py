"""The audit: written with the change, read newest first."""

from __future__ import annotations

from sqlalchemy import Engine

from backends import NewJob, Queue, read_audit, record_audit


def test_an_entry_keeps_who_what_when_and_why(engine: Engine) -> None:
    with engine.begin() as connection:
        record_audit(
            connection, "anna", "api", "job.cancel",
            user_id=3, program_id=1, job_id=2**40, reason="wrong folder", detail={"answer": "asked"},
        )  # fmt: skip
        [entry] = read_audit(connection)
    assert (entry.actor, entry.user_id, entry.via, entry.action) == ("anna", 3, "api", "job.cancel")
    assert (entry.program_id, entry.job_id, entry.reason, entry.detail) == (1, 2**40, "wrong folder", {"answer": "asked"})
    assert entry.at.tzinfo is not None
    assert entry.as_dict()["at"] == entry.at.isoformat()


def test_entries_come_newest_first_in_pages_and_of_one_program(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(6):
            record_audit(connection, "anna", "cli", "job.retry", program_id=number % 2, job_id=number)
        assert [each.job_id for each in read_audit(connection)] == [5, 4, 3, 2, 1, 0]
        first = read_audit(connection, program_id=1, limit=2)
        assert [each.job_id for each in first] == [5, 3]
        assert [each.job_id for each in read_audit(connection, program_id=1, before=first[-1].id)] == [1]


def test_an_entry_exists_exactly_if_the_change_does(engine: Engine) -> None:
    queue = Queue(engine)
    with engine.connect() as connection, connection.begin() as change:
        [job_id] = queue.enqueue([NewJob("count", 1)], connection)
        record_audit(connection, "anna", "cli", "job.create", job_id=job_id)
        change.rollback()
    with engine.connect() as connection:
        assert read_audit(connection) == []
    assert queue.counts().pending == 0


def test_no_name_and_no_reason_keeps_a_change_from_being_made(engine: Engine) -> None:
    with engine.begin() as connection:
        reason, detail = "a\0b" + "y" * 5000, {"a": "\0\ud800"}
        record_audit(connection, "\udcff@host" + "x" * 300, "cli", "job.cancel", reason=reason, detail=detail)
        [entry] = read_audit(connection)
    assert entry.actor.startswith("?@host")
    assert len(entry.actor) == 200
    assert entry.reason is not None
    assert entry.reason.startswith("a\ufffdb")
    assert len(entry.reason) == 2000
    assert entry.detail == {"a": "\0\ud800"}
