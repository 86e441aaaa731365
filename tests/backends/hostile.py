"""Values that no program should write into the queue, and that some program will."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, Engine, text

WHOLE = ("program_id", "user_id", "total_files", "processed_files", "successful_files", "failed_files",
         "priority", "retry_count", "max_retries", "interruptions")
TEXTS = ("job_type", "folder_id", "error_message", "job_parameters", "unique_key", "progress_message", "checkpoint")
MOMENTS = ("created_at", "started_at", "completed_at", "scheduled_at", "locked_at", "cancel_requested_at")

NUMBERS_ON_SQLITE = ("'high'", "''", "x'ff00'", "1.5", "9e999", "-9e999", "1e300", "9223372036854775807", "-9223372036854775808",
                     "9223372036854775808", "'7 of 9'", "char(0)", "CAST(x'ff' AS TEXT)", "'2026-01-01'", "'Infinity'", "'NaN'")
"""As SQL: SQLite takes any of these for an INTEGER column."""

NUMBERS_ON_POSTGRES = ("2147483647", "-2147483648", "0", "-1")
TEXTS_ON_SQLITE = ("x'ff00fe'", "CAST(x'ff' AS TEXT)", "CAST(x'c3' AS TEXT)", "CAST(x'eda080' AS TEXT)", "char(0)",
                   "'a' || char(0) || 'b'", "5", "9e999", "''", "CAST(x'7b2261223aff7d' AS TEXT)", "x'7b7d'",
                   "'{\"token\": ' || char(0) || '}'")
TEXTS_ON_POSTGRES = ("''", "repeat('x', 100000)", "'{\"a\": NaN}'", "'[[['", "U&'\\FFFF'")
MOMENTS_ON_SQLITE = ("'yesterday'", "''", "'infinity'", "'99999-01-01'", "x'ff'", "x'323032362d30312d3031'",
                     "CAST(x'ff' AS TEXT)", "5", "9e999", "'0001-01-01T00:00:00+14:00'", "'9999-12-31 23:59:59-14:00'",
                     "char(0)", "'2026-01-01 00:00:00.000000+00:00' || char(0)",
                     "'9999-12-31 23:59:59.999999+00:00'", "'0000-00-00'")
MOMENTS_ON_POSTGRES = ("'infinity'", "'-infinity'", "'294000-01-01'", "'4713-01-01 BC'", "'9999-12-31 23:59:59-14'",
                       "'0001-01-01 00:00:00+14'")


def hostile_values(backend: str) -> dict[str, tuple[str, ...]]:
    """For each column that any program may write, SQL for values that it should not."""
    on_sqlite = backend == "sqlite"
    return {
        **dict.fromkeys(WHOLE, NUMBERS_ON_SQLITE if on_sqlite else NUMBERS_ON_POSTGRES),
        "lease": NUMBERS_ON_SQLITE if on_sqlite else (*NUMBERS_ON_POSTGRES, str(2**63 - 1), str(-(2**63))),
        **dict.fromkeys(TEXTS, TEXTS_ON_SQLITE if on_sqlite else TEXTS_ON_POSTGRES),
        **dict.fromkeys(MOMENTS, MOMENTS_ON_SQLITE if on_sqlite else MOMENTS_ON_POSTGRES),
    }


def insert_sql(engine: Engine | Connection, values: Mapping[str, str]) -> int:
    """Insert a job from columns and SQL expressions; returns its id."""
    values = {"program_id": "1", "job_type": "'quick'", **values}
    statement = f"INSERT INTO indexing_jobs ({', '.join(values)}) VALUES ({', '.join(values.values())}) RETURNING id"
    if isinstance(engine, Connection):
        return int(engine.exec_driver_sql(statement.replace("%", "%%")).scalar_one())
    with engine.begin() as connection:
        return int(connection.execute(text(statement.replace(":", "\\:"))).scalar_one())


def without_guard(engine: Engine) -> None:
    """As before there were triggers that refuse or mend such rows, or in a database where somebody dropped them."""
    on_table = "" if engine.dialect.name == "sqlite" else " ON indexing_jobs"
    with engine.begin() as connection:
        for name in ("jobqueue_pretended", "jobqueue_inserted_types", "jobqueue_updated_types"):
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}{on_table}")
