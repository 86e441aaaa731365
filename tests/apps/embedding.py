"""A scene in which no supervisor is started by hand: real uvicorn processes serve the API, and the processor comes with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from apps.processor import JobQueueProcessor
from config import SUPERVISED, running_pid
from tests.supervisor.scene import Scene, is_gone
from tests.support import REPOSITORY, free_port


class Embedding(Scene):
    """One API, its processor, and the queue of both."""

    def __init__(self, folder: Path, database_url: str, name: str = "one", **settings: Any) -> None:
        super().__init__(folder, database_url, name, api={"auth": "none"}, **settings)
        self.port = free_port()
        self.seen: set[int] = set()

    @property
    def run_dir(self) -> Path:
        """Where API and supervisor meet."""
        return self.folder / "run"

    @property
    def supervisor_pid(self) -> int | None:
        """The supervisor that holds the run directory."""
        pid = running_pid(self.run_dir)
        if pid:
            self.seen.add(pid)
        return pid

    @property
    def steering(self) -> JobQueueProcessor:
        """An object that gives orders and owns nothing, as a child of the supervisor has it."""
        former = os.environ.get(SUPERVISED)
        os.environ[SUPERVISED] = str(self.run_dir)
        try:
            return JobQueueProcessor(self.config)
        finally:
            os.environ.pop(SUPERVISED) if former is None else os.environ.update({SUPERVISED: former})

    def launch(self, *options: str, app: str = "apps.api:api_app") -> subprocess.Popen[bytes]:
        """Start the API, or another application, under uvicorn and do not wait for anything."""
        self.write_config()
        command = [sys.executable, "-m", "uvicorn", app, "--port", str(self.port), *options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stderr=log, stdout=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env=os.environ | {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{self.folder}", "JOBQUEUE_CONFIG": str(self.config)},
            )
        return self.process

    def is_up(self) -> bool:
        """Whether jobs are processed by the supervisor that runs."""
        return self.supervisor_pid is not None and self.supervisor_pid == self.status.get("pid") and (
            self.status["state"] == "running" and all(worker["phase"] != "starting" for worker in self.status["workers"])
        )

    def family(self) -> list[int]:
        """The pids of the supervisor and its children."""
        pid = self.supervisor_pid
        if pid is None:
            return []
        with contextlib.suppress(psutil.Error):
            return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        return [pid]

    def close(self) -> None:
        """Leave no process behind."""
        for pid in [*self.seen, *self.family()]:
            if not is_gone(pid):
                with contextlib.suppress(psutil.Error):
                    for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
                        process.kill()
        super().close()
