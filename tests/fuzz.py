"""Asks the API everything that its OpenAPI document allows, and what it forbids: `python -m tests.fuzz --minutes 10`.

A real server on a real database, an administrator's token, and schemathesis in all its phases, the stateful one included.
The server's log is then read for tracebacks, and its memory looked at. Exit code 1 for an answer of 5xx, an answer that the
document does not know, one that needs a token and was given without, or anything found in the log.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil

from apps.access.tokens import create_token
from apps.access.users import add_user
from backends import NewJob, Queue, open_engine, upgrade
from tests.postgres import PrivatePostgres
from tests.support import eventually, free_port

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance", "ignored_auth",
)

CONFIGURATION = """
database_url: {url}
job_types:
  full_scan: {{handler: "handlers:nothing", lane: "program:{{program_id}}"}}
  quick: handlers:nothing
api: {{auth: tokens, rate_limit: 100000, port: {port}}}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--backend", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="jobqueue-fuzz-") as folder, database(wanted.backend, Path(folder)) as url:
        return fuzz(Path(folder), url, wanted.minutes, wanted.seed)


@contextmanager
def database(backend: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database, a Postgres server of its own included."""
    if backend == "sqlite":
        yield f"sqlite:///{folder}/queue.db"
        return
    server = PrivatePostgres().start()
    try:
        yield server.url()
    finally:
        server.remove()


def fuzz(folder: Path, url: str, minutes: float, seed: int) -> int:
    """Serve this database and ask; prints what was found."""
    token, port = prepare(url), free_port()
    (folder / "handlers.py").write_text("def nothing(ctx):\n    pass\n")
    (folder / "jobqueue.yaml").write_text(CONFIGURATION.format(url=url, port=port))
    with serving(folder, port) as server:
        before = server.memory_info().rss
        code = ask(folder, f"http://127.0.0.1:{port}", token, minutes, seed)
        answers = httpx2.get(f"http://127.0.0.1:{port}/livez").status_code
        grown = (server.memory_info().rss - before) / 2**20
    log = (folder / "log").read_text(errors="replace")
    tracebacks = log.count("Traceback (most recent call last)")
    print(f"schemathesis: exit code {code}; tracebacks in the log: {tracebacks}; memory: {grown:+.0f} MB; /livez: {answers}")
    if tracebacks:
        print(log[log.index("Traceback (most recent call last)") - 2000 :][:6000])
    return int(bool(code or tracebacks or answers != 200))


def prepare(url: str) -> str:
    """Make the tables, some jobs, and an administrator; returns a token of theirs."""
    engine = open_engine(url)
    upgrade(engine)
    Queue(engine).enqueue([NewJob("full_scan", program, parameters={"n": n}) for program in (1, 2) for n in range(30)])
    with engine.begin() as connection:
        token = create_token(connection, add_user(connection, "fuzz", is_admin=True), "fuzz", None).secret
    engine.dispose()
    return token


@contextmanager
def serving(folder: Path, port: int) -> Iterator[psutil.Process]:
    """The API under uvicorn, with its processor, logging to a file."""
    command = [sys.executable, "-m", "uvicorn", "apps.api:api_app", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": f"{os.getcwd()}{os.pathsep}{folder}"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        eventually(lambda: is_up(port), within=60)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def is_up(port: int) -> bool:
    """Whether the server answers."""
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/livez").status_code == 200
    except httpx2.HTTPError:
        return False


def ask(folder: Path, address: str, token: str, minutes: float, seed: int) -> int:
    """Have schemathesis ask for so many minutes; returns its exit code."""
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{address}/openapi.json", "--url", address,
            "--max-time", str(max(1, round(minutes * 60))), "--checks", ",".join(CHECKS), "--seed", str(seed), "--workers", "2",
            "--continue-on-failure", "--suppress-health-check", "all", "--request-timeout", "20",
            "--header", f"Authorization: Bearer {token}", "--generation-database", "none", "--no-color",
        ],
        check=False,
        cwd=folder,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
