"""The jobs of one claim in a worker's hands, and the helper that keeps a slow job from holding up its neighbours."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from backends import Job, Kind, Outcome

from .pace import pause

SLOW = 0.1
"""Seconds after which a running job counts as slow: what is finished is settled, what was not started is handed back."""

Finished = list[tuple[Job, Outcome]]


def handed_back(jobs: Sequence[Job]) -> Finished:
    """Jobs that were not started, with the outcome that gives them back unspent."""
    return [(job, Outcome(Kind.RELEASED)) for job in jobs]


class Batch:
    """Jobs claimed together: those not started, those finished and not yet settled. Start and hand-back exclude each other."""

    def __init__(self, tag: str, jobs: Sequence[Job]) -> None:
        self.tag = tag
        self.lock = threading.Lock()
        self.single = len(jobs) == 1
        self.ran = 0
        self._waiting = deque(jobs)
        self._finished: Finished = []
        self._in_doubt: set[int] = set()
        self._failures = 0
        self._ask_again_at = 0.0

    def start(self) -> Job | None:
        """The next job to run; None when there is none left."""
        with self.lock:
            return self._waiting.popleft() if self._waiting else None

    def finish(self, job: Job, outcome: Outcome) -> None:
        """A job's attempt is over."""
        self.ran += 1
        with self.lock:
            self._finished.append((job, outcome))

    def take_finished(self) -> Finished:
        """What is finished; whoever takes it settles it."""
        with self.lock:
            taken, self._finished = self._finished, []
            return taken

    def put_back(self, finished: Finished) -> None:
        """What could not be settled after all."""
        with self.lock:
            self._finished = finished + self._finished

    def doubt(self, finished: Finished) -> None:
        """The answer to their settling was lost: it may have been done."""
        self._in_doubt.update(job.id for job, _ in finished)

    def hold_off(self, lock_timeout: float) -> None:
        """The database did not answer: do not ask it again at once behind a slow job."""
        self._failures += 1
        self._ask_again_at = time.monotonic() + pause(self._failures, lock_timeout, random.random())

    @property
    def may_ask(self) -> bool:
        """Whether it is time to ask the database behind a slow job."""
        return time.monotonic() >= self._ask_again_at

    def surely(self, lost: list[Job]) -> list[Job]:
        """Those of the jobs not found held any more that no earlier call can have settled."""
        return [job for job in lost if job.id not in self._in_doubt]

    def take_waiting(self) -> list[Job]:
        """What was not started; whoever takes it hands it back."""
        with self.lock:
            taken = list(self._waiting)
            self._waiting.clear()
            return taken


class Helper:
    """One thread that, while a batch of more than one job is in hand, settles and hands back behind a slow job."""

    def __init__(self, settle: Callable[[Batch, Finished], None], lock_timeout: float) -> None:
        """`settle` raises when it cannot: then it is asked again less and less often."""
        self._settle, self._lock_timeout = settle, lock_timeout
        self._batch: Batch | None = None
        self._in_hand = threading.Event()
        self._settling = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, batch: Batch) -> None:
        """Look after this batch from now on."""
        self._batch = batch
        self._in_hand.set()
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="jobqueue-helper", daemon=True)
            with contextlib.suppress(RuntimeError):  # the system has no thread left; this batch goes without
                thread.start()
                self._thread = thread

    def stop_watching(self) -> None:
        """Nothing is to be looked after. Waits for what is just being settled, so that it is put back if that fails."""
        self._in_hand.clear()
        with self._settling:
            self._batch = None

    def _run(self) -> None:
        done_before: tuple[Batch | None, int] = (None, -1)
        while self._in_hand.wait():
            batch = self._batch
            if batch is not None and (batch, batch.ran) == done_before:
                with self._settling:
                    if self._batch is batch and batch.may_ask:
                        self._relieve(batch)
            done_before = (batch, batch.ran if batch else -1)
            _PAUSE.wait(SLOW / 2)

    def _relieve(self, batch: Batch) -> None:
        waiting = batch.take_waiting()
        finished = batch.take_finished() + handed_back(waiting)
        if finished:
            # Whether the server did it is unknown after an error, so what was handed back is not started here any more:
            # it is put back as finished, and the main thread, which settles it again, meets whatever stood in the way.
            try:
                self._settle(batch, finished)
            except Exception:
                batch.put_back(finished)
                batch.hold_off(self._lock_timeout)


_PAUSE = threading.Event()
