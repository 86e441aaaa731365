"""What a database says against its own files: damaged pages, and indices that do not say what their tables say.

SQLite is asked for its `integrity_check` and `foreign_key_check`. Postgres is asked by `amcheck`; a server that was built without
that reads each table in full, and again through each of its indices in that one's order: both must show the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text

_OURS = """
c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
AND c.relname ~ '^(indexing_jobs|indexed_files|jobqueue_.*|witness_.*)$'
"""
_TABLES = f"SELECT c.oid, c.oid::regclass::text AS name FROM pg_class c WHERE {_OURS} ORDER BY c.oid"
_INDICES = f"""
SELECT i.indexrelid AS oid, i.indexrelid::regclass::text AS name, i.indrelid AS of_table, own.keys, own.sorting,
    format('SELECT ctid::text AS place, ROW(%s)::text AS keys FROM %s WHERE %s ORDER BY %s', own.keys, i.indrelid::regclass,
        coalesce(pg_get_expr(i.indpred, i.indrelid), 'true'), own.sorting) AS rows
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid, LATERAL (
    SELECT string_agg(key, ', ' ORDER BY n) AS keys, string_agg(concat(key, CASE option & 1 WHEN 1 THEN ' DESC' END,
        CASE option & 2 WHEN 2 THEN ' NULLS FIRST' ELSE ' NULLS LAST' END), ', ' ORDER BY n) AS sorting
    FROM generate_series(1, i.indnkeyatts) n,
        LATERAL (SELECT pg_get_indexdef(i.indexrelid, n, true) AS key, i.indoption[n - 1] AS option) one
) own
WHERE {_OURS} AND i.indisvalid
    AND (SELECT am.amname FROM pg_class x JOIN pg_am am ON am.oid = x.relam WHERE x.oid = i.indexrelid) = 'btree'
ORDER BY i.indexrelid
"""

_AMCHECK = f"""
CREATE FUNCTION pg_temp.damage() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    its record;
BEGIN
    FOR its IN {_TABLES} LOOP
        BEGIN
            RETURN QUERY SELECT format('%s: block %s, row %s: %s', its.name, blkno, offnum, msg) FROM verify_heapam(its.oid);
        EXCEPTION WHEN OTHERS THEN
            RETURN NEXT its.name || ': ' || SQLERRM;
        END;
    END LOOP;
    FOR its IN {_INDICES} LOOP
        BEGIN
            PERFORM bt_index_check(its.oid, true);
        EXCEPTION WHEN OTHERS THEN
            RETURN NEXT its.name || ': ' || SQLERRM;
        END;
    END LOOP;
END $$
"""

_READING = f"""
CREATE FUNCTION pg_temp.damage() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    its record; line text; plan text; whole text := 'SELECT array_agg(keys), array_agg(place) FROM (%s) AS seen';
    keys text[]; places text[]; sorted_keys text[]; sorted_places text[];
BEGIN
    PERFORM set_config('max_parallel_workers_per_gather', '0', true), set_config('enable_bitmapscan', 'off', true),
        set_config('jit', 'off', true);
    FOR its IN {_TABLES} LOOP
        BEGIN
            EXECUTE format('SELECT sum(length(t::text)) FROM %s t', its.name);
        EXCEPTION WHEN OTHERS THEN
            RETURN NEXT its.name || ': ' || SQLERRM;
        END;
    END LOOP;
    FOR its IN {_INDICES} LOOP
        BEGIN
            PERFORM set_config(name, 'on', true) FROM unnest(ARRAY['enable_seqscan', 'enable_sort']) AS name;
            PERFORM set_config(name, 'off', true) FROM unnest(ARRAY['enable_indexscan', 'enable_indexonlyscan']) AS name;
            EXECUTE format(whole, its.rows) INTO sorted_keys, sorted_places;
            UPDATE pg_index SET indisvalid = (indexrelid = its.oid), indcheckxmin = false WHERE indrelid = its.of_table;
            PERFORM set_config(name, 'off', true) FROM unnest(ARRAY['enable_seqscan', 'enable_sort']) AS name;
            PERFORM set_config(name, 'on', true) FROM unnest(ARRAY['enable_indexscan', 'enable_indexonlyscan']) AS name;
            plan := '';
            FOR line IN EXECUTE 'EXPLAIN ' || format(whole, its.rows) LOOP
                plan := plan || line;
            END LOOP;
            EXECUTE format(whole, its.rows) INTO keys, places;
            IF strpos(plan, 'using ' || its.name || ' on') = 0 THEN
                RETURN NEXT its.name || ' cannot be read in its order: ' || plan;
            ELSIF keys IS DISTINCT FROM sorted_keys THEN
                RETURN NEXT its.name || ' does not hold what its table holds, or not in its order';
            ELSIF ARRAY(SELECT unnest(places) ORDER BY 1) <> ARRAY(SELECT unnest(sorted_places) ORDER BY 1) THEN
                RETURN NEXT its.name || ' leads to other rows than it says';
            END IF;
        EXCEPTION WHEN OTHERS THEN
            RETURN NEXT its.name || ': ' || SQLERRM;
        END;
    END LOOP;
END $$
"""
"""So that a plan has the one index to use and no other, the others are declared invalid, in a transaction that is undone."""


class Inspection(NamedTuple):
    """What was found, and `by` which means; empty when nobody could be asked, for the server is another's."""

    by: str
    found: tuple[str, ...] = ()


NOBODY = Inspection("")


def inspect(engine: Engine) -> Inspection:
    """Ask the database for damage. It is left as it was, and others may use it meanwhile."""
    if engine.dialect.name == "sqlite":
        with engine.connect().execution_options(jobqueue_read=True) as connection:
            return Inspection("integrity_check", tuple(_said_by_sqlite(connection)))
    with engine.connect() as connection:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        answer = _said_by_postgres(connection)
        connection.rollback()
    return answer


def _said_by_sqlite(connection: Connection) -> Iterator[str]:
    yield from (row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok")
    for table, row_id, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"row {row_id} of {table} refers to a row of {parent} that is not there"


def _said_by_postgres(connection: Connection) -> Inspection:
    if not connection.execute(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")).scalar():
        return NOBODY
    if connection.execute(text("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'")).scalar():
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS amcheck"))
        return Inspection("amcheck", _said_by(connection, _AMCHECK))
    return Inspection("each index beside its table", _said_by(connection, _READING))


def _said_by(connection: Connection, function: str) -> tuple[str, ...]:
    connection.execute(text(function))
    return tuple(connection.execute(text("SELECT * FROM pg_temp.damage()")).scalars())
