"""What a real `python -m uvicorn apps.api:api_app` logs: every line in one form, one for each request, and no secret."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from apps.access.tokens import create_token
from apps.access.users import add_user
from backends import open_engine, upgrade
from tests.support import REPOSITORY, eventually

SECRET = "hunter2hunter2"


class Api:
    """One API under uvicorn, its log, and the token of an administrator called anna."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.log = folder / "log"
        config = folder / "jobqueue.yaml"
        url = f"sqlite:///{folder}/queue.db"
        config.write_text(json.dumps({
            "database_url": url, "extensions": [], "run_dir": f"{folder}/run", "workers": 1,
            "job_types": {"quick": "tests.supervisor.handlers:quick"},
        }))
        engine = open_engine(url)
        upgrade(engine)
        with engine.begin() as connection:
            self.token = create_token(connection, add_user(connection, "anna", is_admin=True), "test", None).secret
        engine.dispose()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "apps.api:api_app", "--port", "0", *options], cwd=REPOSITORY,
                env=os.environ | {"JOBQUEUE_CONFIG": str(config)}, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )
        self.url = eventually(self._found, within=30)

    def _found(self) -> str | None:
        assert self.process.poll() is None, self.log.read_text()
        found = re.search(r"running on (http://[\d.]+:\d+)", self.log.read_text())
        return found[1] if found else None

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The whole lines so far."""
        return [json.loads(line) for line in self.log.read_text().split("\n")[:-1]]

    def loggers(self) -> set[str]:
        return {line["logger"] for line in self.lines}

    def requests(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == "http.request"]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    served = Api(tmp_path)
    yield served
    served.stop()


def test_every_line_is_json_with_the_same_first_keys_from_the_first_to_the_last(api: Api) -> None:
    eventually(lambda: "jobqueue.supervisor" in api.loggers(), within=30)
    api.stop()
    assert {tuple(line)[:4] for line in api.lines} == {("ts", "level", "event", "logger")}
    assert "uvicorn.error" in api.loggers()


def test_a_request_is_one_line_that_names_its_route_and_its_caller_and_holds_no_secret(api: Api) -> None:
    headers = {"Authorization": f"Bearer {api.token}", "X-Request-ID": "mine-1"}
    with httpx2.Client(base_url=api.url, trust_env=False, headers=headers) as client:
        assert client.get(f"/job-queue/jobs/7?limit=5&access_token={SECRET}").headers["x-request-id"] == "mine-1"
        client.get("/job-queue/jobs/7/1")
        client.get(f"/{SECRET}", headers={"X-Request-ID": f"forged\t{SECRET}"})
        client.get("/job-queue/status", headers={"Authorization": f"Bearer {SECRET}"})
        for probe in ("/livez", "/readyz", "/metrics"):
            assert client.get(probe).status_code == 200
    listed, shown, nowhere, stranger = eventually(lambda: len(api.requests()) >= 4 and api.requests())
    assert (listed["method"], listed["path"], listed["status"]) == ("GET", "/job-queue/jobs/{program_id}", 422)
    assert (shown["path"], shown["status"]) == ("/job-queue/jobs/{program_id}/{job_id}", 404)
    assert (listed["caller"], listed["request_id"], listed["level"]) == ("anna", "mine-1", "info")
    assert 0 < listed["duration_ms"] < 60_000
    assert (nowhere["path"], nowhere["status"]) == (None, 404)
    assert re.fullmatch("[0-9a-f]{16}", nowhere["request_id"])
    assert (stranger["path"], stranger["status"]) == ("/job-queue/status", 401)
    assert "caller" not in stranger
    assert SECRET not in api.log.read_text()
    assert api.token not in api.log.read_text()


def test_behind_a_prefix_probes_are_probes_and_the_way_to_the_documents_is_found(tmp_path: Path) -> None:
    api = Api(tmp_path, "--root-path", "/queue")
    with httpx2.Client(base_url=api.url, trust_env=False) as client:
        assert [client.get(probe).status_code for probe in ("/livez", "/readyz", "/livez")] == [200] * 3
        assert client.get("/").headers["Location"] == "/queue/docs"
        assert client.head("/job-queue/status").status_code == 401
    api.stop()
    logged = [(each["method"], each["path"], each["status"]) for each in api.requests()]
    assert logged == [("GET", "/", 307), ("HEAD", "/job-queue/status", 401)]


def test_a_form_of_logs_that_somebody_chose_is_left_alone(tmp_path: Path) -> None:
    chosen = tmp_path / "logs.json"
    chosen.write_text(json.dumps({
        "version": 1, "disable_existing_loggers": False,
        "formatters": {"mine": {"format": "MINE %(message)s"}},
        "handlers": {"mine": {"class": "logging.StreamHandler", "formatter": "mine"}},
        "loggers": {"uvicorn": {"handlers": ["mine"], "level": "INFO", "propagate": False}},
    }))
    api = Api(tmp_path, "--log-config", str(chosen))
    api.stop()
    assert "MINE Uvicorn running on" in api.log.read_text()
