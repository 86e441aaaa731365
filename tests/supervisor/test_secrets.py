"""Keys change while workers run: nobody restarts, and no secret is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import insert, select

from backends import Queue, Rotation, Status, add_key, open_engine, rotate_secrets
from backends.tables import secrets, unfinished
from tests.backends.scene import insert_raw, row
from tests.support import eventually

from .conftest import Stage
from .scene import Scene

ROUNDS, JOBS = 4, 25


def enqueue_some(scene: Scene) -> list[int]:
    return [scene.enqueue("expects_its_secret", n=n, access_token=f"secret {n}")[0] for n in range(JOBS)]


def test_keys_change_under_load_without_a_restart_and_nothing_is_lost(stage: Stage, tmp_path: Path, database_url: str) -> None:
    keys = tmp_path / "keys"
    add_key(keys)
    scene = stage(encryption={"key_file": str(keys)})
    queue = Queue(open_engine(database_url, key_file=keys))
    scene.queue.engine.dispose()
    scene.queue = queue
    waiting = enqueue_some(scene)
    scene.start()
    pids, numbers = scene.worker_pids, list(waiting)
    with ThreadPoolExecutor(1) as another:
        for _ in range(ROUNDS):
            arriving = another.submit(enqueue_some, scene)
            while not arriving.done():
                add_key(keys)
                assert rotate_secrets(queue.engine, batch=5).broken == {}
            numbers += arriving.result()
    late = scene.enqueue("until_file", access_token="secret late")
    scene.becomes(late[0], Status.RUNNING)
    newest = add_key(keys)
    rotate_secrets(queue.engine)
    assert rotate_secrets(queue.engine) == Rotation(0, 0, {})
    with queue.engine.connect() as connection:
        assert set(connection.execute(select(secrets.c.key_id)).scalars()) == {newest}
    scene.until.touch()
    for job_id in (*numbers, *late):
        assert scene.becomes(job_id, Status.COMPLETED, within=30).retry_count == 0
    assert scene.worker_pids == pids
    with queue.engine.connect() as connection:
        assert connection.execute(select(secrets)).all() == []


def test_maintenance_takes_secrets_out_of_jobs_that_a_change_of_the_schema_left(stage: Stage) -> None:
    scene = stage()
    with scene.queue.engine.begin() as connection:
        ids = [insert_raw(connection, status="completed", job_parameters='{"token": "ya29.old"}') for _ in range(3)]
        connection.execute(insert(unfinished).values(name="old secrets", position=0, last=ids[-1]))
    scene.start()
    eventually(lambda: "ya29.old" not in str([row(scene.queue, each) for each in ids]), within=10)
