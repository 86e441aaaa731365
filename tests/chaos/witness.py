"""The witness: triggers by which the database itself writes down every change of a job, in the transaction that makes it.

What a test could see by asking now and then has gaps; this has none, and what was rolled back is not in it. Lines about one job
are in the order of their commits, since whoever writes one holds that job's row.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text

_TABLES = """
CREATE TABLE IF NOT EXISTS witness_changes (
    id {serial}, job_id BIGINT NOT NULL, was TEXT, became TEXT, lease BIGINT, tag TEXT, known_as TEXT,
    job_type TEXT, program_id BIGINT, at DOUBLE PRECISION DEFAULT ({clock})
);
CREATE INDEX IF NOT EXISTS witness_of_job ON witness_changes (job_id, id);
CREATE TABLE IF NOT EXISTS witness_effects (id {serial}, job_id BIGINT NOT NULL, lease BIGINT NOT NULL, after BIGINT, tag TEXT);
CREATE TABLE IF NOT EXISTS witness_writes (
    id {serial}, what TEXT NOT NULL, value TEXT, job_id BIGINT NOT NULL, status TEXT, lease BIGINT, tag TEXT
)
"""

_CHANGE = "INSERT INTO witness_changes (job_id, was, became, lease, tag, known_as, job_type, program_id)"
_WRITE = "INSERT INTO witness_writes (what, value, job_id, status, lease, tag)"

_SQLITE = f"""
CREATE TRIGGER IF NOT EXISTS witness_insert AFTER INSERT ON indexing_jobs BEGIN
    {_CHANGE} VALUES (NEW.id, NULL, NEW.status, NEW.lease, NEW.locked_by, coalesce(NEW.unique_key, NEW.folder_id), NEW.job_type,
        NEW.program_id);
END;;
CREATE TRIGGER IF NOT EXISTS witness_update AFTER UPDATE ON indexing_jobs
WHEN OLD.status IS NOT NEW.status OR OLD.lease IS NOT NEW.lease OR OLD.locked_by IS NOT NEW.locked_by BEGIN
    {_CHANGE} VALUES (NEW.id, OLD.status, NEW.status, NEW.lease, coalesce(NEW.locked_by, OLD.locked_by),
        coalesce(NEW.unique_key, NEW.folder_id), NEW.job_type, NEW.program_id);
END;;
CREATE TRIGGER IF NOT EXISTS witness_delete AFTER DELETE ON indexing_jobs BEGIN
    {_CHANGE} VALUES (OLD.id, OLD.status, NULL, OLD.lease, OLD.locked_by, coalesce(OLD.unique_key, OLD.folder_id), OLD.job_type,
        OLD.program_id);
END;;
CREATE TRIGGER IF NOT EXISTS witness_renewal AFTER UPDATE ON indexing_jobs
WHEN OLD.locked_at IS NOT NEW.locked_at AND OLD.lease IS NEW.lease AND OLD.status IS NEW.status BEGIN
    {_WRITE} VALUES ('renewal', NULL, NEW.id, NEW.status, NEW.lease, NEW.locked_by);
END;;
CREATE TRIGGER IF NOT EXISTS witness_progress AFTER UPDATE ON indexing_jobs
WHEN OLD.progress_message IS NOT NEW.progress_message OR OLD.processed_files IS NOT NEW.processed_files BEGIN
    {_WRITE} VALUES ('progress', NEW.progress_message, NEW.id, NEW.status, NEW.lease, NEW.locked_by);
END;;
CREATE TRIGGER IF NOT EXISTS witness_checkpoint AFTER UPDATE ON indexing_jobs WHEN OLD.checkpoint IS NOT NEW.checkpoint BEGIN
    {_WRITE} VALUES ('checkpoint', NEW.checkpoint, NEW.id, NEW.status, NEW.lease, NEW.locked_by);
END
"""

_POSTGRES = f"""
CREATE OR REPLACE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {_CHANGE} VALUES (
        coalesce(NEW.id, OLD.id), OLD.status, NEW.status, coalesce(NEW.lease, OLD.lease),
        coalesce(NEW.locked_by, OLD.locked_by),
        coalesce(NEW.unique_key, NEW.folder_id, OLD.unique_key, OLD.folder_id), coalesce(NEW.job_type, OLD.job_type),
        coalesce(NEW.program_id, OLD.program_id));
    RETURN NULL;
END $$;;
CREATE OR REPLACE TRIGGER witness_rows AFTER INSERT OR DELETE ON indexing_jobs FOR EACH ROW EXECUTE FUNCTION witness();;
CREATE OR REPLACE TRIGGER witness_update AFTER UPDATE ON indexing_jobs FOR EACH ROW
WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.lease IS DISTINCT FROM NEW.lease
      OR OLD.locked_by IS DISTINCT FROM NEW.locked_by)
EXECUTE FUNCTION witness();;
CREATE OR REPLACE FUNCTION witness_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {_WRITE} VALUES (
        TG_ARGV[0], CASE TG_ARGV[0] WHEN 'progress' THEN NEW.progress_message WHEN 'checkpoint' THEN NEW.checkpoint END,
        NEW.id, NEW.status, NEW.lease, NEW.locked_by);
    RETURN NULL;
END $$;;
CREATE OR REPLACE TRIGGER witness_renewal AFTER UPDATE ON indexing_jobs FOR EACH ROW
WHEN (OLD.locked_at IS DISTINCT FROM NEW.locked_at AND OLD.lease = NEW.lease AND OLD.status = NEW.status)
EXECUTE FUNCTION witness_write('renewal');;
CREATE OR REPLACE TRIGGER witness_progress AFTER UPDATE ON indexing_jobs FOR EACH ROW
WHEN (OLD.progress_message IS DISTINCT FROM NEW.progress_message OR OLD.processed_files <> NEW.processed_files)
EXECUTE FUNCTION witness_write('progress');;
CREATE OR REPLACE TRIGGER witness_checkpoint AFTER UPDATE ON indexing_jobs FOR EACH ROW
WHEN (OLD.checkpoint IS DISTINCT FROM NEW.checkpoint) EXECUTE FUNCTION witness_write('checkpoint');;
CREATE OR REPLACE FUNCTION witness_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE witness_effects SET after = (SELECT coalesce(max(id), 0) FROM witness_changes WHERE job_id = NEW.job_id)
    WHERE id = NEW.id;
    RETURN NULL;
END $$;;
DROP TRIGGER IF EXISTS witness_effect ON witness_effects;;
CREATE CONSTRAINT TRIGGER witness_effect AFTER INSERT ON witness_effects DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION witness_at_commit()
"""
"""An effect is placed among the changes when it commits: on Postgres the attempt may be ended by others in between."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a job's row; `was` is None for one that was added, `became` for one that was deleted.

    `key` is the unique key, or the folder of a job without one; `at` is in seconds of the epoch, by the database's clock.
    """

    job: int
    was: str | None
    became: str | None
    lease: int
    tag: str | None = None
    key: str | None = None
    at: float = 0.0
    job_type: str = ""
    program: int | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """A row that a handler wrote in its fenced transaction; `after` is how many changes had been witnessed before it."""

    job: int
    lease: int
    after: int
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """Something that was written about a job which stayed as it was: its `status`, `lease` and `tag` at that moment.

    `what` is `renewal`, `progress` or `checkpoint`; `value` is what was written, signed by handlers that can (see `signature`).
    """

    what: str
    value: str | None
    job: int
    status: str
    lease: int
    tag: str | None = None


SIGNED = "written under lease"


def signature(lease: int, tag: str | None) -> str:
    """What a handler reports and keeps, so that everybody can see whose word it is."""
    return f"{SIGNED} {lease} of {tag}"


def install(engine: Engine) -> None:
    """Have the database watch its jobs from now on."""
    sqlite = engine.dialect.name == "sqlite"
    serial = "INTEGER PRIMARY KEY AUTOINCREMENT" if sqlite else "BIGSERIAL PRIMARY KEY"
    clock = "(julianday('now') - 2440587.5) * 86400.0" if sqlite else "extract(epoch FROM clock_timestamp())"
    statements = _TABLES.format(serial=serial, clock=clock).split(";") + (_SQLITE if sqlite else _POSTGRES).split(";;")
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def write_effect(connection: Connection, job: int, lease: int, tag: str | None = None) -> None:
    """What a handler does in its fenced transaction: one row that must never stand under a superseded lease."""
    seen = "(SELECT coalesce(max(id), 0) FROM witness_changes WHERE job_id = :job)"
    statement = f"INSERT INTO witness_effects (job_id, lease, after, tag) VALUES (:job, :lease, {seen}, :tag)"
    connection.execute(text(statement), {"job": job, "lease": lease, "tag": tag})


def tag_of(connection: Connection, job: int, lease: int) -> str | None:
    """The claim tag under which that lease of the job was given; None when nobody saw it."""
    statement = "SELECT tag FROM witness_changes WHERE job_id = :job AND lease = :lease AND became = 'running' ORDER BY id"
    found: str | None = connection.execute(text(statement), {"job": job, "lease": lease}).scalars().first()
    return found


def read_changes(connection: Connection) -> list[Change]:
    """All changes, those of one job in the order of their commits."""
    columns = "job_id, was, became, lease, tag, known_as, at, job_type, program_id"
    rows = connection.execute(text(f"SELECT {columns} FROM witness_changes ORDER BY id"))
    return [Change(*row) for row in rows]


def read_effects(connection: Connection) -> list[Effect]:
    """All that handlers wrote, with the number of changes of the same job that each of them came after."""
    counted = "(SELECT count(*) FROM witness_changes c WHERE c.job_id = e.job_id AND c.id <= e.after)"
    rows = connection.execute(text(f"SELECT job_id, lease, {counted}, tag FROM witness_effects e ORDER BY id"))
    return [Effect(*row) for row in rows]


def read_writes(connection: Connection) -> list[Write]:
    """All that was written about jobs which stayed as they were."""
    rows = connection.execute(text("SELECT what, value, job_id, status, lease, tag FROM witness_writes ORDER BY id"))
    return [Write(*row) for row in rows]
