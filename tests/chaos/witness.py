"""The witness: triggers by which the database itself writes down every change of a job, in the transaction that makes it.

What a test could see by asking now and then has gaps; this has none, and what was rolled back is not in it. Lines about one job
are in the order of their commits, since whoever writes one holds that job's row.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text

_TABLES = """
CREATE TABLE IF NOT EXISTS witness_changes (
    id {serial}, job_id BIGINT NOT NULL, was TEXT, became TEXT, lease BIGINT, tag TEXT, lane TEXT, unique_key TEXT,
    at DOUBLE PRECISION DEFAULT ({clock})
);
CREATE INDEX IF NOT EXISTS witness_of_job ON witness_changes (job_id, id);
CREATE TABLE IF NOT EXISTS witness_effects (id {serial}, job_id BIGINT NOT NULL, lease BIGINT NOT NULL, after BIGINT, tag TEXT)
"""

_SQLITE = """
CREATE TRIGGER IF NOT EXISTS witness_insert AFTER INSERT ON indexing_jobs BEGIN
    INSERT INTO witness_changes (job_id, was, became, lease, tag, lane, unique_key)
    VALUES (NEW.id, NULL, NEW.status, NEW.lease, NEW.locked_by, NEW.lane, NEW.unique_key);
END;;
CREATE TRIGGER IF NOT EXISTS witness_update AFTER UPDATE ON indexing_jobs
WHEN OLD.status IS NOT NEW.status OR OLD.lease IS NOT NEW.lease OR OLD.locked_by IS NOT NEW.locked_by BEGIN
    INSERT INTO witness_changes (job_id, was, became, lease, tag, lane, unique_key)
    VALUES (NEW.id, OLD.status, NEW.status, NEW.lease, coalesce(NEW.locked_by, OLD.locked_by), NEW.lane, NEW.unique_key);
END;;
CREATE TRIGGER IF NOT EXISTS witness_delete AFTER DELETE ON indexing_jobs BEGIN
    INSERT INTO witness_changes (job_id, was, became, lease, tag, lane, unique_key)
    VALUES (OLD.id, OLD.status, NULL, OLD.lease, OLD.locked_by, OLD.lane, OLD.unique_key);
END
"""

_POSTGRES = """
CREATE OR REPLACE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO witness_changes (job_id, was, became, lease, tag, lane, unique_key) VALUES (
        coalesce(NEW.id, OLD.id), OLD.status, NEW.status, coalesce(NEW.lease, OLD.lease),
        coalesce(NEW.locked_by, OLD.locked_by), coalesce(NEW.lane, OLD.lane), coalesce(NEW.unique_key, OLD.unique_key));
    RETURN NULL;
END $$;;
CREATE OR REPLACE TRIGGER witness_rows AFTER INSERT OR DELETE ON indexing_jobs FOR EACH ROW EXECUTE FUNCTION witness();;
CREATE OR REPLACE TRIGGER witness_update AFTER UPDATE ON indexing_jobs FOR EACH ROW
WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.lease IS DISTINCT FROM NEW.lease
      OR OLD.locked_by IS DISTINCT FROM NEW.locked_by)
EXECUTE FUNCTION witness();;
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

    `at` is in seconds of the epoch, by the database's clock.
    """

    job: int
    was: str | None
    became: str | None
    lease: int
    tag: str | None = None
    lane: str | None = None
    key: str | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Effect:
    """A row that a handler wrote in its fenced transaction; `after` is how many changes had been witnessed before it."""

    job: int
    lease: int
    after: int
    tag: str | None = None


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


def read_changes(connection: Connection) -> list[Change]:
    """All changes, those of one job in the order of their commits."""
    columns = "job_id, was, became, lease, tag, lane, unique_key, at"
    rows = connection.execute(text(f"SELECT {columns} FROM witness_changes ORDER BY id"))
    return [Change(*row) for row in rows]


def read_effects(connection: Connection) -> list[Effect]:
    """All that handlers wrote, with the number of changes of the same job that each of them came after."""
    counted = "(SELECT count(*) FROM witness_changes c WHERE c.job_id = e.job_id AND c.id <= e.after)"
    rows = connection.execute(text(f"SELECT job_id, lease, {counted}, tag FROM witness_effects e ORDER BY id"))
    return [Effect(*row) for row in rows]
