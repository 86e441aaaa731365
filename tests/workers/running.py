"""A real worker in a forked process, with the test in the place of its supervisor and its maintenance."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from backends import Queue, RetryPolicy
from tests.support import eventually
from workers import Board, HandlerSpec, Order, Phase, Renewal, Wish, WorkerSettings, boot_time, run_worker

PROCESS = "worker-1"


class RunningWorker:
    """One worker, its slot, and the two pipes by which it is woken and by which it knows that we live."""

    def __init__(self, folder: Path, database_url: str, *types: str, **settings: Any) -> None:
        self.board = Board(1)
        self.slot = self.board.slots[0]
        self.log = folder / "worker.log"
        self.pid = 0
        self._wake, self._life = os.pipe(), os.pipe()
        timeouts = settings.pop("timeouts", {})
        self.settings = WorkerSettings(
            slot_index=0, incarnation=1, database_url=database_url,
            handlers=tuple(
                HandlerSpec(each, f"tests.workers.handlers:{each}", timeouts.get(each)) for each in types
            ),
            **({"process_id": PROCESS, "heartbeat_interval": 0.5, "lock_timeout": 10.0, "poll_interval": 0.05,
                "policies": dict.fromkeys(types, RetryPolicy(backoff="none"))} | settings),
        )

    def start(self, queue: Queue) -> RunningWorker:
        """Fork it, and wait until it looks for work."""
        queue.engine.dispose()
        self.pid = os.fork()
        if not self.pid:
            self._be_the_worker()
        eventually(lambda: self.slot.activity.phase > Phase.STARTING)
        return self

    def _be_the_worker(self) -> None:
        code = 70
        try:
            os.close(self._life[1])
            os.close(self._wake[1])
            self.board.resume()
            log = self.log.open("a", buffering=1)
            structlog.configure(
                processors=[
                    structlog.processors.TimeStamper(fmt=None), structlog.processors.format_exc_info,
                    structlog.processors.JSONRenderer(default=str),
                ],
                logger_factory=structlog.PrintLoggerFactory(log),
                wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
            )
            os.dup2(log.fileno(), 2)
            code = run_worker(self.settings, self.slot, self._wake[0], self._life[0])
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def wake(self) -> None:
        """Say that there may be work."""
        os.write(self._wake[1], b"!")

    def abandon(self) -> None:
        """Be gone, as far as the worker can tell."""
        os.close(self._life[1])
        self._life = (self._life[0], -1)

    def order(self, order: Order) -> None:
        """Tell it what to do."""
        self.slot.want(Wish(order, 0, 0, 0))

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def tags(self) -> list[str]:
        """The claim tags in its slot."""
        return [f"{PROCESS}:{claim.nonce.decode()}" for claim in self.slot.claims]

    def renew(self, queue: Queue) -> None:
        """Do once what maintenance does for it each heartbeat."""
        claims, sent_at = self.slot.claims, boot_time()
        queue.heartbeat(self.tags())
        held = queue.held(self.tags())
        self.slot.renew([
            Renewal(claim.nonce, sent_at, int(f"{PROCESS}:{claim.nonce.decode()}" not in held)) for claim in claims
        ])

    def exit_code(self, within: float = 10.0) -> int:
        """Wait until it is gone."""
        pid = self.pid

        def gone() -> tuple[int, int] | None:
            found = os.waitpid(pid, os.WNOHANG)
            return found if found[0] else None

        status = eventually(gone, within)[1]
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it logged under this name."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [each for each in (json.loads(line) for line in lines if line.startswith("{")) if each["event"] == name]

    def remove(self) -> None:
        """Leave nothing of it behind."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        for descriptor in (*self._wake, *self._life):
            if descriptor >= 0:
                os.close(descriptor)


Start = Callable[..., RunningWorker]
