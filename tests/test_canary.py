"""A marked secret goes in by every way there is, and handlers do all that must not be done with it: it is found nowhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import inspect, literal_column, select, table
from sqlalchemy.orm import Session

from apps.api import make_api
from apps.http.services import Services
from apps.indexing_service import IndexingService
from backends import NewJob, Status, new_key
from backends.keys import KeyProblem, Keyring
from backends.tables import secrets
from config import load
from tests.apps.http.serving import serving
from tests.backends.scene import insert_raw
from tests.supervisor.scene import Scene
from tests.support import REPOSITORY, eventually

MARK = "canary/" + "Qx7"
"""In each way's secret; the rest names the way."""


@pytest.fixture
def scene(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """A supervisor whose keys come from the environment; it is not started yet."""
    monkeypatch.setenv("JOBQUEUE_ENCRYPTION_KEYS", new_key())
    scene = Scene(tmp_path, database_url, workers=5, lock_timeout=20)
    scene.write_config()
    yield scene
    scene.close()


def by_enqueueing(scene: Scene, secret: str) -> int:
    return scene.queue.enqueue([NewJob("spills", 1, max_retries=1, parameters={**needed(scene), "access_token": secret})])[0]


def by_raw_insert(scene: Scene, secret: str) -> int:
    parameters = json.dumps({**needed(scene), "access_token": secret, "nested": [{"password": secret}]})
    return insert_raw(scene.queue.engine, job_type="spills", max_retries=1, job_parameters=parameters)


def by_the_command_line(scene: Scene, secret: str) -> int:
    words = ["jobs", "enqueue", "spills", "--program", "1", "--secret", "access_token", "--max-retries", "1", "--json"]
    given = [word for name, value in needed(scene).items() for word in ("--param", f"{name}={value}")]
    return int(json.loads(supervisor(scene, *words, *given, said=secret))["id"])


def by_the_service(scene: Scene, secret: str) -> int:
    with Session(scene.queue.engine) as db, db.begin():
        made = IndexingService(db).create_indexing_job(
            program_id=1, user_id=1, job_type="spills", max_retries=1, access_token=secret, **needed(scene)
        )
        return int(made.id)


def by_http(scene: Scene, secret: str) -> int:
    wanted = {"program_id": 1, "job_type": "spills", "max_retries": 1,
              "job_parameters": {**needed(scene), "access_token": secret, "deep": {"clientSecret": secret}}}
    with serving(make_api(Services(lambda: load(scene.config)))) as url, httpx2.Client(base_url=url, trust_env=False) as client:
        answer = client.post("/job-queue/jobs", json=wanted)
        assert answer.status_code == 201, answer.text
        assert MARK not in answer.text
        return int(answer.json()["id"])


WAYS: tuple[Callable[[Scene, str], int], ...] = (
    by_enqueueing, by_raw_insert, by_the_command_line, by_the_service, by_http,
)


def needed(scene: Scene) -> dict[str, str]:
    return {"until": str(scene.until)}


def supervisor(scene: Scene, *words: str, said: str = "") -> str:
    """Run a command; what it said on both streams must not hold the mark. Returns its output."""
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.main", *words, "-c", str(scene.config)], cwd=REPOSITORY, input=said, text=True,
        capture_output=True, timeout=60, env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    assert MARK not in done.stdout + done.stderr
    return done.stdout


def tables_with_the_mark(scene: Scene) -> list[str]:
    def look(connection) -> list[str]:  # type: ignore[no-untyped-def]
        return [
            name for name in sorted(inspect(connection).get_table_names())
            if any("Qx7" in str(tuple(row)) for row in connection.execute(select(literal_column("*")).select_from(table(name))))
        ]

    return scene.queue.read(look)


def seen_from_outside(scene: Scene) -> str:
    """The titles and command lines of all its processes."""
    words = ""
    for process in scene.tree():
        for name in ("cmdline", "comm", "status"):
            with suppress(OSError):
                words += Path(f"/proc/{process.pid}/{name}").read_bytes().decode(errors="replace")
    return words


def shown_by_the_api(scene: Scene, job_ids: Iterable[int]) -> str:
    """What every route that shows something answers, and the metrics."""
    one_by_one = [f"/job-queue/jobs/1/{job_id}" for job_id in job_ids]
    paths = ["/job-queue/jobs/1", *one_by_one, "/job-queue/status", "/indexing/search/1?q=canary", "/metrics", "/openapi.json"]
    with serving(make_api(Services(lambda: load(scene.config)))) as url, httpx2.Client(base_url=url, trust_env=False) as client:
        answers = [client.get(path) for path in paths]
    assert {answer.status_code for answer in answers} == {200}
    return str([(answer.text, answer.headers) for answer in answers])


def said_without_the_key(scene: Scene, job_ids: Iterable[int]) -> str:
    """What reading each secret, and changing their keys, says where the key is another one; with the tracebacks."""
    said = []
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "JOBQUEUE_ENCRYPTION_KEYS": new_key()}
    for words in (("doctor",), ("secrets", "rotate", "--traceback")):
        command = [sys.executable, "-m", "supervisor.main", *words, "-c", str(scene.config)]
        done = subprocess.run(command, cwd=REPOSITORY, text=True, capture_output=True, timeout=60, env=environment)
        said.append(done.stdout + done.stderr)
    stranger = Keyring(environment=environment)
    for each in scene.queue.read(lambda connection: connection.execute(select(secrets)).all()):
        with pytest.raises(KeyProblem) as caught:
            stranger.open(each.key_id, each.sealed, (each.owner, each.owner_id, each.name))
        said.append("".join(traceback.format_exception(caught.value)))
    assert len(said) >= 2 + len(list(job_ids))
    return str(said)


def test_a_marked_secret_is_found_nowhere(scene: Scene) -> None:
    scene.settings["api"] = {"auth": "none"}
    scene.write_config()
    jobs = {way.__name__: way(scene, f"{MARK} {way.__name__} ü") for way in WAYS}
    assert tables_with_the_mark(scene) == ["indexing_jobs"]  # what was inserted raw, until somebody admits it
    scene.start()
    for job_id in jobs.values():
        eventually(lambda job_id=job_id: scene.job(job_id).progress_message)
        assert scene.job(job_id).holds_secrets
    assert "jobqueue: worker" in seen_from_outside(scene)
    assert MARK not in seen_from_outside(scene)
    assert tables_with_the_mark(scene) == []
    assert "Qx7" not in shown_by_the_api(scene, jobs.values())
    assert "Qx7" not in said_without_the_key(scene, jobs.values())
    scene.until.touch()
    for job_id in jobs.values():
        assert scene.becomes(job_id, Status.FAILED, within=20).error_message == "RuntimeError: outer '***'"
    assert scene.stop() == 0
    assert tables_with_the_mark(scene) == []
    said = scene.log.read_text()
    assert len(scene.events("spilled")) == len(scene.events("caught")) == 2 * len(jobs)
    assert "Qx7" not in said
    for job_id in jobs.values():
        assert [each.outcome for each in scene.queue.attempts(job_id)] == ["failed", "failed"]
        assert "***" in scene.queue.attempts(job_id)[0].detail
        assert scene.job(job_id).holds_secrets is False
        supervisor(scene, "jobs", "show", str(job_id), "--json")
    supervisor(scene, "jobs", "list", "--json")
    supervisor(scene, "audit", "--json")
    left = [each for each in scene.folder.rglob("*") if each.is_file() and b"Qx7" in each.read_bytes()]
    assert left == []
