"""Recount: the counters say what the rows say again, exactly, whatever happened by hand and whoever works meanwhile."""

from __future__ import annotations

from sqlalchemy import Engine, text

from backends import NewJob, Queue, open_engine, recount
from backends.migrate import _OPTIONS, _config, _script
from tests.backends.scene import DONE, clear, everything, in_processes, insert_many, running, time_text
from tests.backends.test_counts import counted, told


def _execute(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_what_was_changed_by_hand_is_counted_again(queue: Queue, engine: Engine) -> None:
    queue.enqueue([NewJob("laned", 1) for _ in range(5)] + [NewJob("quick", 2) for _ in range(5)])
    queue.admit()
    mine = running(queue, job_type="other", priority=9)
    queue.settle("tester:0001", [(mine, DONE)])
    queue.fold_counts()
    _execute(
        engine,
        "DELETE FROM indexing_jobs WHERE program_id = 2 AND id % 2 = 0",
        f"UPDATE indexing_jobs SET status = 'failed' WHERE id = {mine.id}",
        "UPDATE indexing_jobs SET waits_for = NULL WHERE waits_for = 'lane'",
        "INSERT INTO jobqueue_count_deltas (program_id, counter, change) VALUES (7, 'completed', 3)",
    )
    assert told(queue) != counted(queue)
    recount(engine)
    for program_id in (None, 1, 2, 7):
        assert told(queue, program_id) == counted(queue, program_id)


def test_counters_that_are_right_are_left_alone(queue: Queue, engine: Engine) -> None:
    queue.enqueue([NewJob("laned", 1) for _ in range(3)])
    queue.admit()
    before = everything(queue)
    recount(engine)
    assert everything(queue) == before


def test_a_table_that_was_filled_past_the_counters_is_counted(queue: Queue, engine: Engine) -> None:
    insert_many(engine, 30, program_id="n % 3", status="'completed'", completed_at=time_text(engine, 60))
    _execute(engine, "DELETE FROM jobqueue_count_deltas", "DELETE FROM jobqueue_counts")
    recount(engine)
    assert told(queue) == counted(queue)
    assert told(queue, 1)["completed"] == 10


def test_it_is_exact_while_others_work_fold_and_recount(queue: Queue, database_url: str) -> None:
    clear(queue)
    queue.enqueue([NewJob("laned", number % 4) for number in range(40)] + [NewJob("quick", 1) for _ in range(120)])
    _execute(queue.engine, "DELETE FROM jobqueue_count_deltas")  # so that the first recount has something to put right

    def act(number: int) -> None:
        own = Queue(open_engine(database_url))
        for turn in range(25):
            if number == 0:
                own.fold_counts()
            elif number <= 2:
                recount(own.engine)
            else:
                tag = f"t{number}:{turn}"
                own.settle(tag, [(each, DONE) for each in own.claim(tag, ("quick", "laned"), 2)])

    in_processes(queue.engine, act, range(5))
    assert told(queue) == counted(queue)
    assert told(queue)["completed"] > 50


def test_what_waited_before_these_counters_existed_is_counted_by_the_upgrade(empty_database_url: str) -> None:
    engine = open_engine(empty_database_url)
    _upgrade_to("0001", engine)
    _execute(
        engine,
        *(
            f"INSERT INTO indexing_jobs (program_id, job_type, lane, waits_for) VALUES (1, 'x', 'l', '{reason}')"
            for reason in ("time", "lane", "lane", "handler")
        ),
    )
    _upgrade_to("head", engine)
    queue = Queue(engine)
    assert told(queue) == counted(queue)
    assert (queue.counts().pending, queue.counts().scheduled, queue.counts().waiting) == (4, 1, 2)
    engine.dispose()


def _upgrade_to(revision: str, engine: Engine) -> None:
    from alembic.runtime.environment import EnvironmentContext

    script = _script()
    with (
        engine.begin() as connection,
        EnvironmentContext(_config(), script, fn=lambda found, context: script._upgrade_revs(revision, found)) as environment,
    ):
        environment.configure(connection=connection, **_OPTIONS)
        with environment.begin_transaction():
            environment.run_migrations()
