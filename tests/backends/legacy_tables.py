"""Tables of jobs as an application had them before there was a queue, on both databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, text

STATUSES = ("pending", "running", "completed", "failed", "cancelled", "In Progress", "QUEUED", "error", "done", "canceled")

AROUND = """
CREATE TABLE programs (id INTEGER PRIMARY KEY, name VARCHAR(50));
CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(50));
INSERT INTO programs VALUES (1, 'one'), (2, 'two'), (3, 'three');
INSERT INTO users VALUES (1, 'ann'), (2, 'bob');
"""

COLUMNS = """
    program_id INTEGER NOT NULL REFERENCES programs (id) ON DELETE CASCADE,
    user_id INTEGER NOT NULL REFERENCES users (id),
    job_type VARCHAR(50) NOT NULL,
    folder_id VARCHAR(255),
    status VARCHAR(20) CHECK (status <> 'nonsense'),
    created_at {time},
    started_at {time},
    completed_at {time},
    total_files INTEGER,
    processed_files INTEGER DEFAULT 0,
    successful_files INTEGER DEFAULT 0,
    failed_files INTEGER DEFAULT 0,
    error_message VARCHAR(500),
    "reviewed by" VARCHAR(50) DEFAULT 'nobody', -- a comment, with a comma
    score NUMERIC(10, 2),
    parent_id INTEGER REFERENCES indexing_jobs (id)
"""

BESIDE = """
CREATE TABLE job_notes (id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL REFERENCES indexing_jobs (id), note VARCHAR(50));
CREATE INDEX ix_jobs_created ON indexing_jobs (created_at);
CREATE INDEX ix_jobs_status ON indexing_jobs (status, created_at DESC);
CREATE TABLE job_log (job_id INTEGER, was VARCHAR(50));
"""

TABLE = {
    "postgresql": "CREATE TABLE indexing_jobs (id {id}, "
    + COLUMNS.format(time="TIMESTAMP") + ", CONSTRAINT ends CHECK (completed_at >= created_at))",
    "sqlite": "CREATE TABLE indexing_jobs (id INTEGER NOT NULL, " + COLUMNS.format(time="DATETIME") + ", PRIMARY KEY (id))",
}

TRIGGERS = {
    "postgresql": [
        """CREATE FUNCTION note_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO job_log VALUES (OLD.id, OLD.job_type); RETURN OLD; END $$""",
        "CREATE TRIGGER note_deleted AFTER DELETE ON indexing_jobs FOR EACH ROW EXECUTE FUNCTION note_deleted()",
    ],
    "sqlite": [
        "CREATE TRIGGER note_deleted AFTER DELETE ON indexing_jobs"
        " BEGIN INSERT INTO job_log VALUES (OLD.id, OLD.job_type); END"
    ],
}

TIMES = {
    "postgresql": "timestamp '2024-03-01 10:00:00' + n * interval '1 minute'",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S', '2024-03-01 10:00:00', n || ' minutes') || '.000000'",
}


def make(engine: Engine, rows: int = 200, changes: str = "", id_type: str = "SERIAL PRIMARY KEY") -> None:
    """The application's tables and so many jobs of every status, with gaps in their ids; then `changes`, statements."""
    name = engine.dialect.name
    table = TABLE[name].replace("{id}", id_type)
    for statement in [*_split(AROUND), table, *_split(BESIDE), *TRIGGERS[name], *_fill(name, rows), *_split(changes)]:
        _run(engine, statement)


def _split(statements: str) -> list[str]:
    return [each.strip() for each in statements.split(";\n") if each.strip(" ;\n")]


def _fill(name: str, rows: int) -> list[str]:
    series = (
        f"WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {rows})"
        if name == "sqlite" else f"WITH series AS (SELECT generate_series(1, {rows}) AS n)"
    )
    time = TIMES[name]
    status = " ".join(f"WHEN {index} THEN '{word}'" for index, word in enumerate(STATUSES))
    return [
        f"""INSERT INTO indexing_jobs (id, program_id, user_id, job_type, folder_id, status, created_at, started_at, completed_at,
            total_files, error_message, "reviewed by", score, parent_id) {series}
        SELECT n * 3, 1 + n % 3, 1 + n % 2, 'full_scan', 'folder ' || n, CASE n % 10 {status} END,
            CASE WHEN n % 7 > 0 THEN {time} END, {time}, CASE WHEN n % 10 IN (2, 3, 8) THEN {time} END,
            CASE WHEN n % 5 > 0 THEN n END, 'said ' || n, 'ann ' || n, n + 0.25, CASE WHEN n > 1 THEN 3 END FROM series""",
        "INSERT INTO job_notes (id, job_id, note) SELECT id, id, 'of ' || id FROM indexing_jobs",
        *(["SELECT setval(pg_get_serial_sequence('indexing_jobs', 'id'), 100000)"] if name == "postgresql" else []),
    ]


def _run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def rows(engine: Engine, columns: str = "*", table: str = "indexing_jobs") -> list[tuple[Any, ...]]:
    """What a table holds, by id."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(f"SELECT {columns} FROM {table} ORDER BY id"))]


ENUM = """
CREATE TYPE job_status AS ENUM ('pending', 'running', 'completed', 'failed', 'In Progress', 'QUEUED', 'error', 'done',
    'cancelled', 'canceled');
ALTER TABLE indexing_jobs DROP CONSTRAINT indexing_jobs_status_check;
ALTER TABLE indexing_jobs ALTER COLUMN status TYPE job_status USING status::job_status;
ALTER TABLE indexing_jobs ALTER COLUMN status SET DEFAULT 'pending', ALTER COLUMN status SET NOT NULL;
"""
"""Statuses of an enumerated type, as Postgres has them."""
