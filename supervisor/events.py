"""What can happen to a supervisor, as small frozen facts, and the one place that words them as log lines."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import structlog


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `name` is stable: dashboards and alerts may rely on it."""

    name: ClassVar[str]
    level: ClassVar[int] = logging.INFO


@dataclass(frozen=True, slots=True)
class SupervisorReady(Event):
    """Every place has a worker that is ready."""

    name = "supervisor.ready"
    workers: int
    startup_ms: int


@dataclass(frozen=True, slots=True)
class SupervisorDraining(Event):
    """No more claims; workers finish what they have."""

    name = "supervisor.draining"
    because: str
    shutdown_timeout: float


@dataclass(frozen=True, slots=True)
class SupervisorStopped(Event):
    """All processes are gone."""

    name = "supervisor.stopped"
    exit_code: int


@dataclass(frozen=True, slots=True)
class SupervisorRestarting(Event):
    """All processes are gone; the program starts again in this process."""

    name = "supervisor.restarting"


@dataclass(frozen=True, slots=True)
class SupervisorQuiet(Event):
    """Claiming was switched off, or on again."""

    name = "supervisor.quiet"
    quiet: bool


@dataclass(frozen=True, slots=True)
class SupervisorResting(Event):
    """Processing was ordered to stop, or to go on; the supervisor itself stays."""

    name = "supervisor.resting"
    resting: bool


@dataclass(frozen=True, slots=True)
class SupervisorWoke(Event):
    """The supervisor did not run for a while: it was stopped, or the machine slept."""

    name = "supervisor.woke"
    level = logging.WARNING
    gap: float


@dataclass(frozen=True, slots=True)
class CrashLoop(Event):
    """Workers keep dying without a job in hand; the supervisor gives up."""

    name = "supervisor.crash_loop"
    level = logging.ERROR
    deaths: int
    last_reason: str


@dataclass(frozen=True, slots=True)
class WorkersWanted(Event):
    """The number of workers was changed."""

    name = "workers.wanted"
    count: int


@dataclass(frozen=True, slots=True)
class WorkerStarted(Event):
    """A process was started in a place."""

    name = "worker.started"
    level = logging.DEBUG
    process_id: str
    pid: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class WorkerReady(Event):
    """It can claim jobs."""

    name = "worker.ready"
    level = logging.DEBUG
    process_id: str
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerNotStarted(Event):
    """The system refused another process; it will be tried again."""

    name = "worker.not_started"
    level = logging.ERROR
    process_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerOverdue(Event):
    """The supervisor ends a worker, or the job it runs."""

    name = "worker.overdue"
    level = logging.WARNING
    process_id: str
    pid: int
    cause: str
    reason: str
    job_id: int | None
    attempt: int | None


@dataclass(frozen=True, slots=True)
class WorkerLost(Event):
    """A worker ended that was not told to."""

    name = "worker.lost"
    level = logging.WARNING
    process_id: str
    pid: int
    reason: str
    job_id: int | None
    attempt: int | None


@dataclass(frozen=True, slots=True)
class WorkerStopped(Event):
    """A worker left as it was told to."""

    name = "worker.stopped"
    level = logging.DEBUG
    process_id: str
    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class MaintenanceStarted(Event):
    """The database side of supervision runs."""

    name = "maintenance.started"
    level = logging.DEBUG
    pid: int


@dataclass(frozen=True, slots=True)
class MaintenanceLost(Event):
    """It ended, or hung and was killed; another is started."""

    name = "maintenance.lost"
    level = logging.WARNING
    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class ChoreFailed(Event):
    """A fault kept maintenance from a chore that no claim depends on. It goes on, and tries again at the chore's next turn."""

    name = "maintenance.chore_failed"
    level = logging.ERROR
    chore: str
    reason: str
    exception: str


@dataclass(frozen=True, slots=True)
class LanesDisagree(Event):
    """Another supervisor gives a job type another lane than the file of this one, which goes on, and tries again."""

    name = "maintenance.lanes_disagree"
    level = logging.ERROR
    problem: str


@dataclass(frozen=True, slots=True)
class ApiReady(Event):
    """The HTTP API answers."""

    name = "api.ready"
    pid: int
    url: str


@dataclass(frozen=True, slots=True)
class ApiLost(Event):
    """It ended, or was not ready in time or did not answer and was killed; another is started."""

    name = "api.lost"
    level = logging.WARNING
    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class ApiNotListening(Event):
    """Its address cannot be had; it is tried again, and jobs are processed meanwhile."""

    name = "api.not_listening"
    level = logging.ERROR
    address: str
    reason: str
    remedy: str = "end what listens there, or change api.host and api.port (--api-port), or leave it out with --no-api"


@dataclass(frozen=True, slots=True)
class RunDirRestored(Event):
    """Somebody removed the run directory, which keeps a second supervisor from starting; it was made again."""

    name = "run_dir.restored"
    level = logging.WARNING
    path: str


@dataclass(frozen=True, slots=True)
class RunDirLost(Event):
    """The run directory was removed and cannot be made again; that is tried on, and jobs are processed meanwhile."""

    name = "run_dir.lost"
    level = logging.ERROR
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeathsNotTold(Event):
    """At the end, maintenance had not confirmed these deaths; their jobs come back after `lock_timeout`."""

    name = "supervisor.deaths_not_told"
    level = logging.WARNING
    deaths: int


@dataclass(frozen=True, slots=True)
class JobReclaimed(Event):
    """A job was taken back from a worker that died, or from a supervisor that nobody hears of any more."""

    name = "job.reclaimed"
    level = logging.WARNING
    job_id: int
    job_type: str
    program_id: int
    attempt: int
    process_id: str
    pid: int | None
    status: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobsReleased(Event):
    """Jobs of claims that nobody works on were given back."""

    name = "jobs.released"
    jobs: int
    reason: str


@dataclass(frozen=True, slots=True)
class JobsHeldBack(Event):
    """So many old jobs are not pruned, because rows of another table refer to them and must not lose them."""

    name = "prune.held_back"
    level = logging.WARNING
    constraint: str
    jobs: int


@dataclass(frozen=True, slots=True)
class DatabaseLost(Event):
    """The database does not answer; everything goes on without it as far as it can."""

    name = "database.lost"
    level = logging.WARNING
    seen_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class DatabaseBack(Event):
    """The database answers again."""

    name = "database.back"
    seen_by: str
    away: float


@dataclass(frozen=True, slots=True)
class SupervisorVanished(Event):
    """Maintenance saw its supervisor die and ended the workers."""

    name = "supervisor.vanished"
    level = logging.ERROR
    workers: int


@dataclass(frozen=True, slots=True)
class WorkerFenced(Event):
    """Maintenance killed a worker whose lease ran out, because the supervisor did not."""

    name = "worker.fenced"
    level = logging.WARNING
    process_id: str
    pid: int


@dataclass(frozen=True, slots=True)
class LogPinned(Event):
    """SQLite's write-ahead log stays large, because a program reads an old state of the database. Told again when it doubled."""

    name = "database.log_pinned"
    level = logging.WARNING
    bytes: int


@dataclass(frozen=True, slots=True)
class ReloadStarted(Event):
    """The configuration is read again."""

    name = "reload.started"


@dataclass(frozen=True, slots=True)
class ReloadRefused(Event):
    """The new configuration is not usable; the old one stays."""

    name = "reload.refused"
    level = logging.ERROR
    problem: str


@dataclass(frozen=True, slots=True)
class Reloaded(Event):
    """The new configuration holds; workers are replaced one by one."""

    name = "reload.done"
    workers: int


@dataclass(frozen=True, slots=True)
class ModuleUnfit(Event):
    """A handler module is imported by each worker for itself, because importing it leaves something that cannot be forked."""

    name = "handlers.not_preloaded"
    module: str
    reason: str


@dataclass(frozen=True, slots=True)
class ExtensionSaid(Event):
    """What an extension did at start, in its own words."""

    name = "extension.said"
    extension: str
    said: str


def tell(event: Event) -> None:
    """Write the log line of an event."""
    fields: dict[str, Any] = asdict(event)
    structlog.get_logger("jobqueue.supervisor").log(event.level, event.name, **fields)
