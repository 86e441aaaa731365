"""Every setting, its kind, its default and its meaning. Durations are floats of seconds, paths are absolute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .durations import DAY, HOUR, MINUTE
from .kinds import (
    AbsolutePath,
    DatabaseUrl,
    Duration,
    Handler,
    JobTypeName,
    Lane,
    Module,
    PositiveDuration,
    ProcessId,
    Text,
    UpperCase,
)


class Section(BaseModel):
    """What all sections have in common: they cannot change, and know no other keys than these."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Database(Section):
    """How the database named by `database_url` is used."""

    pooler: Literal["none", "transaction"] = "none"
    """`transaction` for PgBouncer in transaction mode: no LISTEN, no prepared statements, no start-up options."""

    auto_migrate: bool = True
    """Bring the schema up to date at start, one supervisor at a time. If false, run `migrate_job_queue.py` yourself."""

    connect_timeout: PositiveDuration = 5.0
    """How long to wait for a connection."""

    statement_timeout: PositiveDuration = 30.0
    """How long one of the queue's own statements may take."""

    journal: Literal["wal", "rollback"] = "wal"
    """SQLite only. `rollback` where another program writes the file with an SQLite library older than 3.51.3."""


class Workers(Section):
    """How many workers run, and their names. `workers: 4` is short for `workers: {count: 4}`."""

    count: Annotated[int, Field(ge=1, le=512)] = 2
    """How many worker processes run. With `process_ids` and without `count`: one for each id."""

    process_ids: tuple[ProcessId, ...] = ()
    """Names for the first workers. The others, normally all, are called `{hostname}-{index}`, counted from 1."""

    @model_validator(mode="before")
    @classmethod
    def _as_many_as_named(cls, data: Any) -> Any:
        if isinstance(data, dict) and "count" not in data and isinstance(data.get("process_ids"), tuple):
            return {**data, "count": max(1, len(data["process_ids"]))} if data["process_ids"] else data
        return data

    def named(self, hostname: str) -> tuple[str, ...]:
        """The name of every worker of this supervisor, `count` of them."""
        rest = (f"{hostname}-{index}" for index in range(len(self.process_ids) + 1, self.count + 1))
        return (*self.process_ids, *rest)


class Retry(Section):
    """When a failed job runs again. Delay before retry number n: see `backoff`; never longer than `max`."""

    max_retries: Annotated[int, Field(ge=0, le=1000)] = 3
    """How often a job is tried again after it failed, unless the job itself says otherwise."""

    backoff: Literal["none", "constant", "linear", "exponential"] = "exponential"
    """`none`: 0; `constant`: `initial`; `linear`: n x `initial`; `exponential`: `initial` x `factor`^(n-1)."""

    initial: Duration = 10.0
    """The delay before the first retry."""

    factor: Annotated[float, Field(ge=1, le=100)] = 2.0
    """How much longer each exponential delay is than the one before."""

    max: Duration = HOUR
    """The longest delay."""

    jitter: Literal["none", "equal", "full"] = "full"
    """Chance in the delay d, so that jobs that failed together return apart: `equal` d/2 to d, `full` 0 to d."""


class JobType(Section):
    """One type of job. `name: module:function` is short for `name: {handler: module:function}`."""

    handler: Handler
    """The function that does the work, `module:function`; it gets a `JobContext`."""

    lane: Lane = None
    """Jobs of one lane never overlap. A template of `{program_id}`, `{user_id}`, `{folder_id}`, `{job_type}`; or none."""

    timeout: PositiveDuration | None = None
    """How long one attempt may take; past it, its worker is stopped and the attempt has failed. null: no limit."""

    retry: Retry = Retry()
    """Any of the keys of `retry`, for this type only; those not given are inherited from there."""


class Program(Section):
    """Something whose files are indexed. Programs can also be created with the API or the command line."""

    id: Annotated[int, Field(ge=1, le=2**31 - 1)]
    """The number by which jobs name the program."""

    name: Text
    """What people call it."""

    source: Literal["local", "google_drive"] = "local"
    """Where the files are."""

    folder: Text | None = None
    """The folder to index: a path for `local` (required), a folder id for `google_drive` (null: everything)."""

    index: Literal["on_start", "manual"] = "manual"
    """`on_start` enqueues a scan of the program when a supervisor starts while no other one of the database runs."""

    settings: dict[str, Any] = {}
    """Options of the source, such as `include_trashed`. A text that starts with `./` or `../` is a path."""


class Jwt(Section):
    """An identity provider whose signed tokens (JWT) are taken too, for users with that subject. Off without `jwks_url`."""

    jwks_url: Text | None = None
    """Where its public keys are, for example `https://id.example.com/.well-known/jwks.json`."""

    issuer: Text | None = None
    """What `iss` must be."""

    audience: Text | None = None
    """What `aud` must be, or contain."""

    subject_claim: Text = "sub"
    """The claim that names the user's subject."""


class Encryption(Section):
    """How the credentials are encrypted that jobs, users and programs bring along."""

    key_file: AbsolutePath | None = None
    """Keys, one a line, newest first. `JOBQUEUE_ENCRYPTION_KEYS` wins. SQLite makes itself one beside the database if need be."""


class Api(Section):
    """The HTTP API, as a process of the supervisor or under uvicorn."""

    enabled: bool = False
    """Whether the supervisor runs it."""

    host: Text = "127.0.0.1"
    """The address to listen on."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """The port to listen on; 0 takes a free one."""

    auth: Literal["none", "tokens"] = "tokens"
    """`tokens`: all routes but the probes need a bearer token. `none`: this host needs none, all others are refused."""

    rate_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Requests a second that one token (without one: one address) may make; more are answered with 429."""

    largest_body: Annotated[int, Field(ge=1_000, le=100_000_000)] = 2_000_000
    """Bytes that the body of a request may have; more are answered with 413 while they arrive."""

    request_timeout: PositiveDuration = 10.0
    """How long a client may take to send a whole request."""

    most_connections: Annotated[int, Field(ge=10, le=1_000_000)] = 1_000
    """Connections that are served at the same time; more are refused with 503."""

    jwt: Jwt = Jwt()


Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class Logging(Section):
    """What is logged, how and where to."""

    level: Annotated[Level, UpperCase] = "INFO"
    """The least important level that is logged, in any case. The environment variable `LOG_LEVEL` wins."""

    format: Literal["auto", "console", "json"] = "auto"
    """`auto` is `console` on a terminal and `json` otherwise."""

    file: AbsolutePath | None = None
    """A file to log to instead of the standard error output."""


class Retention(Section):
    """How long finished jobs are kept before they are pruned."""

    completed: Duration = 7 * DAY
    """Jobs that succeeded."""

    failed: Duration = 30 * DAY
    """Jobs that failed for good."""

    cancelled: Duration = 7 * DAY
    """Jobs that were cancelled."""


class RestartBackoff(Section):
    """The pause before a worker that died without a job in hand is started again; it doubles with each death."""

    initial: Duration = 1.0
    """The first pause."""

    max: Duration = 30.0
    """The longest pause."""


class CrashLimit(Section):
    """When the supervisor gives up on workers that keep dying without a job in hand."""

    count: Annotated[int, Field(ge=1, le=10_000)] = 10
    """This many deaths ..."""

    window: PositiveDuration = 5 * MINUTE
    """... within this time end the supervisor with exit code 1."""


class Supervision(Section):
    """How the supervisor keeps its processes alive."""

    ready_timeout: PositiveDuration = 30.0
    """How long a process may take to start."""

    restart_backoff: RestartBackoff = RestartBackoff()
    crash_limit: CrashLimit = CrashLimit()


class Settings(Section):
    """Everything the operator said, complete: whatever was not said has its default."""

    database_url: DatabaseUrl = "sqlite:///jobqueue.db"
    """`sqlite:///file.db` or `postgresql://user@host/database`, several hosts allowed. `DATABASE_URL` wins."""

    database: Database = Database()
    workers: Workers = Workers()

    heartbeat_interval: PositiveDuration = 5.0
    """How often the leases of running jobs are renewed."""

    lock_timeout: PositiveDuration = 30.0
    """A running job whose `locked_at` is older is taken back. At least three times `heartbeat_interval`."""

    poll_interval: PositiveDuration = 1.0
    """How often an idle worker looks for jobs; wake-ups make it look sooner."""

    shutdown_timeout: Duration = 25.0
    """How long a stopping supervisor waits for running jobs before it hands them back."""

    retry: Retry = Retry()
    job_types: dict[JobTypeName, JobType] = {}
    programs: tuple[Program, ...] = ()
    api: Api = Api()
    encryption: Encryption = Encryption()
    logging: Logging = Logging()
    retention: Retention = Retention()
    supervision: Supervision = Supervision()

    run_dir: AbsolutePath = Path(".jobqueue")
    """Where the pid file and the status file are kept."""

    extensions: tuple[Module, ...] = ("apps.extension",)
    """Modules that add commands and start-up tasks to the supervisor."""
